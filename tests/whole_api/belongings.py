"""What each role has of its own: jobs in every status, with run directories; a webhook; tokens."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from data_shards.manifest import load_manifest
from service.access.caller import EVERYONE, Caller, Role
from service.access.tokens import issue_token
from service.jobs.lifecycle import Decision
from service.reconciling.starter import sha256_of_token
from service.store.store import Store
from service.store.tokens import create_token
from service.store.webhooks import create_webhook
from service.webhooks.happenings import Happening
from service.webhooks.records import Webhook
from service.webhooks.signing import new_secret
from tests.unit.service.conftest import job_in, make_spec, now, progress, report
from tests.unit.trainer.contract.reports import training_report
from trainer.attempt.ledger import Ledger
from trainer.checkpoints.checkpoint import take_snapshot, write_checkpoint
from trainer.contract.attempt import AttemptOrder, Outcome
from trainer.contract.checkpoint import CheckpointManifest, DataDigests, ScheduleState
from trainer.contract.durable import write_whole
from trainer.contract.events import CheckpointSaved
from trainer.contract.model_spec import ModelSpec
from trainer.contract.order_file import write_order
from trainer.contract.presets import expand_preset
from trainer.contract.report_text import to_markdown
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import JobSpec
from trainer.contract.status import Status

STEPS = (10, 20, 30, 40)
# Events of an attempt that runs: one of each step, and one of its checkpoint.
NUM_REPORTED = 2 * len(STEPS)
# Allowed by the settings of whoever serves this; nothing listens there.
RECEIVER = "http://127.0.0.1:9/told"
RECEIVERS = "127.0.0.0/8"
# Whose attempts have begun.
_BEGUN = (Status.RUNNING, Status.PAUSED, Status.SUCCEEDED, Status.FAILED)


@dataclass(frozen=True, kw_only=True)
class Belongings:
    """What a role's token may change where the role may; its owner has the role's name."""

    role: Role
    token: str = field(repr=False)
    attempt_token: str = field(repr=False)
    """Of the one attempt of each of its jobs."""
    spare_token_id: str
    """Of a token that asks for nothing."""
    webhook_id: str
    spec: JobSpec
    """Of its jobs; one that is accepted."""

    @property
    def owner(self) -> str:
        """Whose all this is."""
        return self.role.value

    def job(self, status: Status) -> str:
        """Return the id of its job that was in that status at first."""
        # Letters alone: what is cloned is named by such.
        return f"{self.owner}{status}".lower()


def give(store: Store, run_root: Path, data: Mapping[str, str], role: Role) -> Belongings:
    """Store what a role has, with the run directories of its jobs.

    `data`: locations of manifests by split.
    """
    caller = Caller(owner=role.value, role=role)
    token, _ = _token(store, role)
    _, spare_token_id = _token(store, role)
    own = Belongings(
        role=role,
        token=token,
        attempt_token=secrets.token_hex(8),
        spare_token_id=spare_token_id,
        webhook_id=_webhook(store, caller),
        spec=make_spec(**expand_preset({"preset": "small", "data": data})),
    )
    for status in Status:
        _give_job(store, run_root, own, caller, status)
    return own


def _token(store: Store, role: Role) -> tuple[str, str]:
    """Return a new token and its id."""
    record, token = issue_token(
        owner=role.value, role=role, description="", expires_in=None, now=now()
    )
    store.write(lambda connection: create_token(connection, record, EVERYONE, now()))
    return str(token), record.id


def _webhook(store: Store, caller: Caller) -> str:
    webhook = Webhook(
        id=secrets.token_hex(6),
        owner=caller.owner,
        all_jobs=False,
        url=RECEIVER,
        events=frozenset({Happening.FAILED}),
        secret=new_secret(),
        description="",
        created_at=now(),
    )
    store.write(lambda connection: create_webhook(connection, webhook, caller, now()))
    return webhook.id


def _give_job(
    store: Store, run_root: Path, own: Belongings, caller: Caller, status: Status
) -> None:
    job_id = own.job(status)
    begun = status in _BEGUN
    # Only of an attempt that is current more is reported.
    first = Status.RUNNING if status is Status.SUCCEEDED else status
    sha256 = sha256_of_token(own.attempt_token)
    job_in(store, first, job_id, spec=own.spec, token_sha256=sha256, by=caller)
    if not begun:
        return
    saved = _write_run(RunDirectory(run_root / job_id), own)
    if first is Status.RUNNING:
        report(store, job_id, *(progress(step, loss=1 / step) for step in STEPS), *saved)
    if status is Status.SUCCEEDED:
        done = Decision(status=status, ended=Outcome(outcome="succeeded"))
        store.apply(store.job(job_id), done, now())


def _write_run(run: RunDirectory, own: Belongings) -> list[CheckpointSaved]:
    """Write what an attempt leaves, of a network of two weights; return what it reports of that."""
    attempt, job_id = run.attempt(1), run.path.name
    order = AttemptOrder(
        job_id=job_id, attempt=1, spec=own.spec, accelerator="cpu", resume_from=None
    )
    write_order(attempt, order)
    attempt.log.write_text("step 10\nstep 20\n")
    with Ledger(attempt.ledger(0)) as ledger:
        ledger.write(step=0, epoch=0, loss=1.5, samples=range(3), corrupt=())
    attempt.checkpoints.mkdir()
    data = own.spec.data
    train, validation = (
        load_manifest(Path(at)).content_sha256() for at in (data.train, data.validation)
    )
    digests = DataDigests(train=train, validation=validation)
    saved = [_write_checkpoint(attempt, step, digests, own.spec.model) for step in STEPS]
    told = training_report(job_id=job_id)
    write_whole(run.report_markdown, to_markdown(told).encode())
    write_whole(run.report, told.model_dump_json().encode())
    return saved


def _write_checkpoint(
    attempt: AttemptDirectory, step: int, data_sha256: DataDigests, model: ModelSpec
) -> CheckpointSaved:
    manifest = CheckpointManifest(
        job_id=attempt.run.name,
        attempt=attempt.number,
        step=step,
        epoch=step / 10,
        schedule=ScheduleState(),
        top1=None,
        top5=None,
        spec_sha256="0" * 64,
        data_sha256=data_sha256,
        model=model,
        numerics={},
        files={},
    )
    tensors: dict[str, Any] = {"fc8.bias": torch.full((2,), float(step))}
    folder = attempt.checkpoint(step)
    written = write_checkpoint(take_snapshot(manifest, tensors, tensors), folder, lambda: None)
    weights = written.files["model.safetensors"]
    return CheckpointSaved(
        step=step,
        epoch=step / 10,
        path=folder.relative_to(attempt.run).as_posix(),
        size_bytes=weights.size_bytes,
        weights_sha256=weights.sha256,
        top1=None,
    )
