"""Where requests become plans and jobs: what is read, decided, held and stored, in order."""

import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection

from service.access.caller import Caller, Ownership
from service.access.disk import DiskMeter
from service.access.quotas import Quota, Usage, check_submission
from service.jobs.records import JobRecord
from service.problems import FieldError, SpecRefusedError
from service.scheduling.forecast import MAX_JOBS
from service.scheduling.queue import QueuePolicy
from service.scheduling.room import Cluster
from service.scheduling.waiting import waits
from service.store.errors import JobNotFoundError
from service.store.finished import Succeeded, newest_evaluations, newest_succeeded
from service.store.idempotency import (
    KeyedRequest,
    KeyInUseError,
    KeyReusedError,
    Made,
    Reservation,
    release,
    reserve,
)
from service.store.jobs import known_jobs, read_planned_speeds
from service.store.quotas import active_limits, jobs_of, quota_of
from service.store.store import Store
from service.store.switches import read_drain
from service.submission.admission import Admitted, admit_request
from service.submission.checkpoint_finder import CheckpointFinder
from service.submission.clone import expand_clone
from service.submission.held_checkpoints import holding
from service.submission.keys_in_work import KeysInWork
from service.submission.plan import make_plan
from service.submission.privacy import split_private
from service.submission.remaining import read_speeds
from service.submission.shards import check_shards
from service.submission.speed import FinishedJob, Nearest, nearest_first
from service.submission.start import Situation, accelerator_on, foresee_start
from service.views.plans import CheckedShards, Plan, PlannedJob, PlannedSpeed
from trainer.contract.confinement import path_roots
from trainer.contract.events import Evaluated
from trainer.contract.report import parse_report
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import ACTIVE

logger = logging.getLogger(__name__)

# Jobs that a plan looks back on, the newest first (assumed to be enough to find one that is like).
_LOOK_BACK = 200


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A job that a request made, now or when it was first sent."""

    job: JobRecord
    is_replay: bool


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A request that was read: what it names is there, and nothing is stored."""

    admitted: Admitted
    ownership: Ownership
    """Of the job that it would be: what is stored with it names what all who see it may see."""
    cloned_from: str | None


class Desk:
    """Takes requests of one caller."""

    def __init__(
        self,
        store: Store,
        *,
        caller: Caller,
        run_root: Path,
        meter: DiskMeter,
        data_roots: tuple[str, ...],
        cluster: Callable[[], Cluster | str],
        policy: QueuePolicy,
        keys: KeysInWork,
        clock: Callable[[], datetime],
    ) -> None:
        """`meter`: of `run_root`; `cluster` gives it as last seen, or says why it is not known.

        `keys`: those in work of this process, of all its desks.
        """
        self._store = store
        self._caller = caller
        self._run_root = run_root
        self._meter = meter
        self._data_roots = data_roots
        self._cluster = cluster
        self._policy = policy
        self._keys = keys
        self._clock = clock

    def plan(self, request: Mapping[str, Any]) -> PlannedJob:
        """Say what would become of a request; nothing is stored.

        Blocks while it reads manifests and lists shards. Raises what `submit` does.
        """
        read = self._read(request)
        return PlannedJob(spec=read.admitted.spec, plan=self._plan(read, ask_stores=True))

    def submit(
        self, request: Mapping[str, Any], *, key: str | None, keep_for: timedelta
    ) -> Accepted:
        """Make a job of a request, once for each `key` of the caller; keys are kept `keep_for`.

        Raises SpecRefusedError, StoreBusyError, NotHeldError, QuotaExceededError; KeyInUseError,
        KeyReusedError.
        """
        if key is None:
            return Accepted(job=self._submit(request, None), is_replay=False)
        keyed = KeyedRequest(owner=self._caller.owner, key=key, body_sha256=_digest(request))
        reservation = Reservation(request=keyed)
        is_begun = False

        def reserve_key(connection: Connection) -> Made | None:
            nonlocal is_begun
            is_begun = True
            return reserve(
                connection, reservation, self._clock(), keep_for=keep_for, in_work=self._keys
            )

        # Around it too: what is stored may not be confirmed.
        with (
            self._keys.holding(reservation.holder),
            self._releasing(reservation, lambda: is_begun),
        ):
            made = self._store.write(reserve_key)
            if made is None:
                return Accepted(job=self._submit(request, reservation), is_replay=False)
        return Accepted(job=self._store.job(made.job_id), is_replay=True)

    @contextmanager
    def _releasing(
        self, reservation: Reservation, may_be_stored: Callable[[], bool]
    ) -> Iterator[None]:
        try:
            yield
        except (KeyInUseError, KeyReusedError):
            raise  # It is another's.
        except BaseException:
            # A store that took nothing at all is not waited for once more.
            if not may_be_stored():
                raise
            try:
                self._store.write(lambda connection: release(connection, reservation))
            except Exception as error:  # noqa: BLE001  # what was refused is told, not this
                logger.warning("an idempotency key could not be given back yet: %s", error)
            raise

    def _read(self, request: Mapping[str, Any]) -> _Read:
        whole, cloned_from = expand_clone(request, self._visible_job)
        rest, private = split_private(whole)
        ownership = Ownership(owner=self._caller.owner, private=private)
        finder = CheckpointFinder(
            self._store,
            self._run_root,
            path_roots(self._data_roots),
            seen_by=self._caller,
            for_job=ownership,
        )
        admitted = admit_request(rest, self._data_roots, finder)
        return _Read(admitted=admitted, ownership=ownership, cloned_from=cloned_from)

    def _visible_job(self, job_id: str) -> JobRecord:
        job = self._store.job(job_id)
        if not self._caller.may_see(job.ownership):
            raise JobNotFoundError(job_id)
        return job

    def _submit(self, request: Mapping[str, Any], reservation: Reservation | None) -> JobRecord:
        self._check_disk()
        read = self._read(request)
        plan = self._plan(read, ask_stores=False)
        job_id = secrets.token_hex(6)
        run = RunDirectory(self._run_root.resolve() / job_id)
        with holding(read.admitted.spec, run) as held:
            return self._store.submit(
                job_id,
                held,
                self._clock(),
                by=self._caller,
                private=read.ownership.private,
                plan=plan.model_dump(mode="json"),
                cloned_from=read.cloned_from,
                reservation=reservation,
            )

    def _check_disk(self) -> None:
        """Hold the owner to their disk quota; to the others where the job is stored."""
        owner = self._caller.owner
        if owner is None:
            return
        quota = self._store.read(lambda connection: quota_of(connection, owner))
        if quota.disk_bytes is not None:
            ids = self._store.read(lambda connection: jobs_of(connection, owner))
            usage = Usage(disk_bytes=self._meter.size_bytes(ids))
            check_submission(owner, Quota(disk_bytes=quota.disk_bytes), usage)

    def _plan(self, read: _Read, *, ask_stores: bool) -> Plan:
        admitted, spec = read.admitted, read.admitted.spec
        cluster = self._cluster()
        unseen = cluster if isinstance(cluster, str) else ""
        situation = (
            None if isinstance(cluster, str) else self._situation(cluster, foresees=ask_stores)
        )
        near, timed_in, timed = list[Nearest](), None, list[Evaluated]()
        if spec.kind == "train" and not isinstance(cluster, str):
            near = nearest_first(
                spec, accelerator_on(spec, cluster), self._finished(read.ownership)
            )
            # A calibration makes no evaluations.
            timed_in = next((one.job.id for one in near if one.job.spec.kind == "train"), None)
            timed = [] if timed_in is None else self._evaluations(timed_in)
        return make_plan(
            spec,
            (admitted.train, admitted.validation),
            shards=_checked(admitted, ask_stores=ask_stores),
            nearest=replace(near[0], job=self._measured(near[0].job)) if near else None,
            start=foresee_start(spec, situation, of=read.ownership, unseen=unseen),
            nodes=None if situation is None else situation.cluster.nodes,
            timed=timed,
            timed_in=timed_in,
            unseen=unseen,
        )

    def _situation(self, cluster: Cluster, *, foresees: bool) -> Situation:
        """Return what a job would come to; `foresees`: so that it tells when the job starts."""
        now, live = self._clock(), self._store.live_jobs()
        return Situation(
            cluster=cluster,
            live=live,
            accelerators=self._store.accelerators_in_use(),
            policy=self._policy,
            limits=self._store.read(lambda connection: active_limits(connection, now)),
            is_draining=self._store.read(read_drain) is not None,
            now=now,
            planned=self._planned_speeds(live) if foresees else None,
            ended=self._ended_attempts(cluster, live) if foresees else frozenset(),
        )

    def _ended_attempts(self, cluster: Cluster, live: list[JobRecord]) -> frozenset[str]:
        """Return whose holdings were seen though the attempts have ended since."""
        lives = {f"{job.id}-{job.attempt}" for job in live if job.status in ACTIVE}
        others = {one.holder: one.holder.rpartition("-")[0] for one in cluster.holdings}
        ids = set(others.values())
        known = self._store.read(lambda connection: known_jobs(connection, ids))
        return frozenset(name for name, job_id in others.items() if job_id in known) - lives

    def _planned_speeds(self, live: list[JobRecord]) -> Mapping[str, PlannedSpeed]:
        """Return what is kept with jobs that live; of more than are foreseen, nothing."""
        ids = [job.id for job in live if waits(job) or job.status in ACTIVE]
        if len(ids) > MAX_JOBS:
            return {}
        return read_speeds(
            self._store.read(lambda connection: read_planned_speeds(connection, ids))
        )

    def _evaluations(self, job_id: str) -> list[Evaluated]:
        # The last two are by the centre crop and by ten views, where there are both.
        return self._store.read(lambda connection: newest_evaluations(connection, job_id, 2))

    def _finished(self, ownership: Ownership) -> list[FinishedJob]:
        """Return jobs that tell how fast others train, what ended last first."""
        found = self._store.read(
            lambda connection: newest_succeeded(
                connection, _LOOK_BACK, kinds=("train", "calibrate"), named_by=ownership
            )
        )
        by_end = sorted(found, key=lambda one: one.job.status_since, reverse=True)
        return [_finished(one) for one in by_end]

    def _measured(self, job: FinishedJob) -> FinishedJob:
        """Return the job with the mean rate of its report, where that can be read."""
        try:
            report = parse_report(RunDirectory(self._run_root / job.id).report.read_bytes())
        except (OSError, ValidationError):
            return job
        rate = report.images_per_second
        return replace(job, images_per_second=rate) if rate > 0 else job


def _finished(one: Succeeded) -> FinishedJob:
    progress = one.job.progress
    return FinishedJob(
        id=one.job.id,
        spec=one.job.spec,
        accelerator=one.accelerator,
        images_per_second=0.0 if progress is None else progress.images_per_second,
    )


def _checked(admitted: Admitted, *, ask_stores: bool) -> tuple[CheckedShards, ...]:
    data = admitted.spec.data
    train = check_shards("train", data.train, admitted.train, ask_stores=ask_stores)
    validation = check_shards(
        "validation", data.validation, admitted.validation, ask_stores=ask_stores
    )
    # Of the other set a mean image at most is read.
    read = {"train": (train, validation), "evaluate": (validation,), "calibrate": (train,)}
    return read[admitted.spec.kind]


def _digest(request: Mapping[str, Any]) -> str:
    """Digest what a request says, however it is spaced and ordered. Raises SpecRefusedError."""
    try:
        text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        message = "this is nested too deeply to be a request"
        raise SpecRefusedError([FieldError(field="", message=message)]) from None
    return hashlib.sha256(text.encode()).hexdigest()
