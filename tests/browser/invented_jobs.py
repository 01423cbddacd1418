"""Jobs that nobody trained: what is seldom seen, written into a store and run directories."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from service.access.caller import Caller, Role
from service.jobs.lifecycle import Decision
from service.jobs.records import JobRecord
from service.scheduling.placement import Node
from service.scheduling.room import Cluster, Holding
from service.store.attempts import NewAttempt
from service.store.store import Store
from tests.browser.invented_pictures import draw
from tests.unit.service.conftest import bring_to, make_spec, now, report
from tests.unit.service.world import FakeRay, World
from tests.unit.trainer.contract.reports import training_report
from trainer.contract.attempt import AttemptOrder, Outcome, Reason
from trainer.contract.events import (
    AttemptEventData,
    CheckpointSaved,
    Evaluated,
    Progress,
    SamplesSkipped,
    Started,
)
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.contract.status import Status

# As long as they may be, without a space in them.
LONG_NAME = "alexnet-" + "n" * 72
LONG_OWNER = "owner-" + "o" * 44 + "@research.test"
_LABELS = {"team": "vision", "l" * 63: "v" * 80}
_FOLDER = "/d/" + "folder-without-a-space" * 9
_OWNER = Caller(owner=LONG_OWNER, role=Role.SUBMITTER)
_PAPER_STEPS, _STEPS_PER_EPOCH = 900_000, 10_009
# What attempts end with that say more than a word; one name is written from right to left.
FAILURES = {
    Reason.OUT_OF_MEMORY: "GPU 1 has no room for a batch of 128; set optim.micro_batch_size to 64",
    Reason.LOST_NODE: f"node {'a1b2c3d4' * 7} left the cluster",
    Reason.BAD_DATA: f"{_FOLDER}/صور-التدريب.tar does not have the manifest's sha256; pack it anew",
}


class FewPairs(FakeRay):
    """Two nodes with a pair of GPUs each."""

    def cluster(self) -> Cluster:
        nodes = [
            Node(id=f"{'0123456789abcdef' * 3}-{number}", num_cpus=32, num_gpus=2, gpu_type="H100")
            for number in range(2)
        ]
        return Cluster(nodes=nodes, holdings=self.holdings)


def write_queue(store: Store, state_dir: Path) -> Cluster:
    """Have jobs for pairs of GPUs wait, with the reasons that the reconciler itself gives."""
    world = World(state_dir, store)
    world.now = now()
    world.ray = ray = FewPairs()
    for number in range(6):
        spec = _spec(name=f"waits-{number}", scale={"accelerator": "gpu"})
        store.submit(f"queued{number}", spec, world.now, by=_OWNER, private=number == 4)
    world.tick(2)
    begun = [job for job in store.live_jobs() if job.status is Status.STARTING]
    assert len(begun) == 2
    assert all(job.message for job in store.live_jobs())
    ray.holdings = [
        Holding(node_id=node.id, holder=f"{job.id}-1", num_cpus=1, num_gpus=2)
        for node, job in zip(ray.cluster().nodes, begun, strict=True)
    ]
    bring_to(store, begun[0], Status.RUNNING)
    return ray.cluster()


def write_paper(store: Store, run_root: Path) -> None:
    """Write the paper's own run, had it gone as the paper says, in three attempts."""
    _submit(store, "paper", name="the paper as it was trained")
    reasons = (Reason.OUT_OF_MEMORY, Reason.LOST_NODE, None)
    for number, reason in enumerate(reasons, start=1):
        start, stop = (number - 1) * 300_000, number * 300_000
        _begin(store, run_root, "paper", start=start)
        steps = range(start + 3000, stop + 1, 3000)
        told: list[AttemptEventData] = [_progress(step) for step in steps]
        told += [_evaluated(step) for step in steps[::10]]
        report(store, "paper", *told, _saved(number, stop))
        _end(store, "paper", Status.SUCCEEDED if reason is None else Status.RETRYING, reason)
    report_file = RunDirectory(run_root / "paper").report
    report_file.write_text(training_report(job_id="paper").model_dump_json())
    steps_drawn = (610_000, 750_000, 900_000)
    attempt = RunDirectory(run_root / "paper").attempt(3)
    draw(attempt, steps_drawn, steps_per_epoch=_STEPS_PER_EPOCH)
    attempt.log.write_text("".join(f"step {n}: {'no-space' * n}\n" for n in range(60)))


def write_failed(store: Store, run_root: Path) -> None:
    """Write a job whose fourth attempt met data that no retry mends."""
    _submit(store, "failed", name=LONG_NAME, data={"train": f"{_FOLDER}/t", "validation": "/d/v"})
    for reason in (Reason.LOST_NODE, Reason.LOST_NODE, Reason.OUT_OF_MEMORY, Reason.BAD_DATA):
        _begin(store, run_root, "failed", start=0)
        names = tuple(f"{'s' * 60}-{number:06}.tar:{'k' * 60}" for number in range(20))
        skipped = SamplesSkipped(
            step=3000, samples=names, reason="is no JPEG", by_reason={"broken": 25}, total=25
        )
        report(store, "failed", _progress(3000), _progress(6000), skipped)
        status = Status.FAILED if reason is Reason.BAD_DATA else Status.RETRYING
        _end(store, "failed", status, reason)


def write_retrying(store: Store, run_root: Path) -> None:
    """Write a job that waits for its third attempt."""
    _submit(store, "retrying", name="comes again", private=True)
    for reason in (Reason.LOST_NODE, Reason.OUT_OF_MEMORY):
        _begin(store, run_root, "retrying", start=0)
        _end(store, "retrying", Status.RETRYING, reason)


def write_compared(store: Store, number: int) -> str:
    """Write one of several jobs that differ in a rate; return its id."""
    job_id = f"compared{number}"
    name = LONG_NAME if number % 2 else f"rate {number}"
    rate = 0.01 / 2**number
    job = _submit(store, job_id, name=name, seed=number, optim={"learning_rate": rate})
    bring_to(store, job, Status.RUNNING)
    steps = range(3000, 300_000, 3000)
    told = [_progress(step, learning_rate=rate) for step in steps]
    report(store, job_id, *told, *map(_evaluated, steps[::10]))
    ended = Outcome(outcome="succeeded", step=steps[-1])
    store.apply(store.job(job_id), Decision(status=Status.SUCCEEDED, ended=ended), now())
    return job_id


def _submit(store: Store, job_id: str, *, private: bool = False, **fields: Any) -> JobRecord:
    return store.submit(job_id, _spec(**fields), now(), by=_OWNER, private=private)


def _spec(**fields: Any) -> JobSpec:
    return make_spec(**{"labels": _LABELS, **fields})


def _begin(store: Store, run_root: Path, job_id: str, *, start: int) -> None:
    """Begin the next attempt, from the checkpoint after step `start`; 0: from the beginning."""
    job = store.job(job_id)
    number = job.attempt + 1
    source = f"attempts/{number - 1:04d}/checkpoints/step-{start:08d}" if start else None
    new = NewAttempt(number=number, accelerator="gpu", resume_from=source, num_cpus=1, num_gpus=2)
    job = store.begin_attempt(job, new, now())
    order = AttemptOrder(
        job_id=job_id, attempt=number, spec=job.spec, accelerator="gpu", resume_from=source
    )
    write_order(RunDirectory(run_root / job_id).attempt(number), order)
    started = Started(
        start_step=start,
        planned_steps=_PAPER_STEPS,
        steps_per_epoch=_STEPS_PER_EPOCH,
        worker_pids=(1,),
        devices=("cuda:0", "cuda:1"),
    )
    report(store, job_id, started)
    store.apply(store.job(job_id), Decision(status=Status.RUNNING), now())


def _end(store: Store, job_id: str, status: Status, reason: Reason | None) -> None:
    message = None if reason is None else FAILURES[reason]
    ended = Outcome(
        outcome="succeeded" if reason is None else "failed", reason=reason, message=message
    )
    retry_at = now() + timedelta(hours=1) if status is Status.RETRYING else None
    decision = Decision(
        status=status, reason=reason, message=message, retry_at=retry_at, ended=ended
    )
    store.apply(store.job(job_id), decision, now())


def _progress(step: int, *, learning_rate: float = 0.01) -> Progress:
    share = step / _PAPER_STEPS
    return Progress(
        step=step,
        epoch=step / _STEPS_PER_EPOCH,
        planned_steps=_PAPER_STEPS,
        loss=1.5 + 5.4 * (1 - share) ** 3,
        learning_rate=learning_rate / 10 ** min(int(3 * share), 2),
        images_per_second=9876.5,
        data_wait_ratio=0.05,
        phase_seconds={"data_wait": 0.001, "forward": 0.004, "exchange": 0.001, "backward": 0.007},
    )


def _evaluated(step: int) -> Evaluated:
    known = 1 - (1 - step / _PAPER_STEPS) ** 3
    return Evaluated(
        step=step,
        epoch=step / _STEPS_PER_EPOCH,
        num_samples=50_000,
        loss=6.9 - 5 * known,
        top1=0.575 * known,
        top5=0.8 * known,
    )


def _saved(attempt: int, step: int) -> CheckpointSaved:
    return CheckpointSaved(
        step=step,
        epoch=step / _STEPS_PER_EPOCH,
        path=f"attempts/{attempt:04d}/checkpoints/step-{step:08d}",
        size_bytes=488_000_000,
        weights_sha256="0123456789abcdef" * 4,
        top1=0.5,
    )
