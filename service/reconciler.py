"""The one loop that compares store, run directory and Ray, and the only writer of statuses."""

import hashlib
import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from service.lifecycle import Decision, Observation, RayState, decide
from service.placement import Node, accelerator_of, admit, demand_of
from service.ray_jobs import RayJob, RayUnreachableError
from service.records import AttemptRecord, JobRecord
from service.store.errors import ChangedMeanwhileError, StaleAttemptError
from service.store.store import NewAttempt, Store
from trainer.contract.attempt import AttemptOrder, Outcome, Reason
from trainer.contract.checkpoint_folder import latest_checkpoint
from trainer.contract.events import AttemptEvent
from trainer.contract.order_file import order_of, write_order
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.status import ACTIVE, Desired, Status

logger = logging.getLogger(__name__)

INTERRUPTED = Outcome(
    outcome="failed",
    reason=Reason.INTERRUPTED,
    message="the control plane was stopped, and its local Ray with it",
)

OUTAGE = "waits for Ray to answer; /readyz says how it stands"


class Ray(Protocol):
    """What the reconciler asks of a cluster (`ray_jobs.RayJobs`)."""

    def submit(self, submission_id: str, command: list[str]) -> None:
        """Start a driver, unless it exists already."""

    def job(self, submission_id: str) -> RayJob:
        """Say how a submission stands."""

    def stop(self, submission_id: str) -> None:
        """Ask a driver to go."""

    def nodes(self) -> list[Node]:
        """Return the nodes that live."""


def now_utc() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


class Reconciler:
    """Moves every job on, a step at a time. Any step may be the last before a crash."""

    def __init__(
        self,
        store: Store,
        *,
        run_root: Path,
        control_plane_url: str,
        python: str,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._store = store
        self._run_root = run_root
        self._url = control_plane_url
        self._python = python
        self._clock = clock

    def tick(self, ray: Ray | None) -> None:
        """Advance every live job once, then admit who may start. None: Ray cannot be reached."""
        for job in self._store.live_jobs():
            try:
                self._advance(job, ray)
            except ChangedMeanwhileError:
                continue
            except RayUnreachableError as error:
                logger.warning("job %s waits: %s", job.id, error)
            except Exception:
                # One job's trouble must not hold up the others; the next tick tries again.
                logger.exception("job %s could not be advanced", job.id)
        if ray is None:
            self._note_outage()
        else:
            self._admit(ray)

    def interrupt(self) -> None:
        """End every attempt: the Ray they ran in was stopped on purpose. They go on later."""
        for job in self._store.live_jobs():
            while (current := self._store.job(job.id)).status in ACTIVE:
                attempt = self._store.attempt(current.id, current.attempt)
                outcome = _read_outcome(self._directory(attempt).outcome) or INTERRUPTED
                seen = Observation(ray=RayState.ENDED, outcome=outcome)
                self._follow(current, attempt, seen, self._clock())

    def _advance(self, job: JobRecord, ray: Ray | None) -> None:
        now = self._clock()
        attempt = self._store.attempt(job.id, job.attempt) if job.status in ACTIVE else None
        seen = Observation(ray=None) if attempt is None else self._observe(attempt, ray, now)
        if attempt is not None and attempt.submitted_at is None and _known(seen.ray):
            self._store.note_submitted(job.id, attempt.number, now)
        decision = self._follow(job, attempt, seen, now)
        if decision.act is not None:
            assert attempt is not None
            assert ray is not None
            if decision.act == "submit":
                self._submit(job, attempt, ray)
            else:
                ray.stop(attempt.submission_id)

    def _follow(
        self, job: JobRecord, attempt: AttemptRecord | None, seen: Observation, now: datetime
    ) -> Decision:
        decision = decide(job, attempt, seen, now)
        if decision.ended is not None:
            self._take_spool(job)
        if decision.status is not job.status:
            self._store.apply(job, decision, now)
            why = f" ({decision.reason})" if decision.reason else ""
            logger.info("job %s: %s to %s%s", job.id, job.status, decision.status, why)
        return decision

    def _observe(self, attempt: AttemptRecord, ray: Ray | None, now: datetime) -> Observation:
        # Ray first: a driver that has ended has written its outcome before.
        try:
            seen = None if ray is None else ray.job(attempt.submission_id)
        except RayUnreachableError as error:
            logger.warning("%s", error)
            seen = None
        file = self._directory(attempt).outcome
        outcome = _read_outcome(file)
        age = now.timestamp() - file.stat().st_mtime if outcome is not None else 0.0
        return Observation(
            ray=None if seen is None else seen.state,
            ray_message=None if seen is None else seen.message,
            outcome=outcome,
            outcome_age=timedelta(seconds=age),
        )

    def _take_spool(self, job: JobRecord) -> None:
        """Store what the attempt wrote down and could not send."""
        file = RunDirectory(self._run_root / job.id).attempt(job.attempt).events
        try:
            lines = file.read_bytes().splitlines()
        except FileNotFoundError:
            return
        # A process that was killed may leave half a line.
        spooled = [event for line in lines if (event := _event_of(line)) is not None]
        if len(spooled) < len(lines):
            logger.warning("%s: %d of %d lines can be read", file, len(spooled), len(lines))
        try:
            self._store.append_events(job.id, job.attempt, spooled)
        except StaleAttemptError:
            return

    def _admit(self, ray: Ray) -> None:
        now = self._clock()
        live = self._store.live_jobs()
        waiting = sorted(
            (job for job in live if _may_start(job, now)),
            key=lambda job: (-job.spec.priority, job.seq),
        )
        if not waiting:
            return
        nodes = ray.nodes()
        running = [
            demand_of(job.spec, self._store.attempt(job.id, job.attempt).accelerator)
            for job in live
            if job.status in ACTIVE
        ]
        accelerators = {job.id: accelerator_of(job.spec, nodes) for job in waiting}
        admission = admit(
            nodes, running, [(job.id, demand_of(job.spec, accelerators[job.id])) for job in waiting]
        )
        for job in waiting:
            if job.id in admission.admitted:
                self._try_to_begin(job, accelerators[job.id], ray, now)
            elif job.status is Status.QUEUED and job.message != admission.waiting[job.id]:
                self._store.note_wait(job.id, admission.waiting[job.id])

    def _note_outage(self) -> None:
        for job in self._store.live_jobs():
            if job.status is Status.QUEUED and job.message != OUTAGE:
                self._store.note_wait(job.id, OUTAGE)

    def _try_to_begin(self, job: JobRecord, accelerator: str, ray: Ray, now: datetime) -> None:
        try:
            self._begin(job, accelerator, ray, now)
        except RayUnreachableError:
            raise
        except Exception:
            # As in `tick`: the others are not to wait for this one.
            logger.exception("job %s could not be started", job.id)

    def _begin(self, job: JobRecord, accelerator: str, ray: Ray, now: datetime) -> None:
        run = RunDirectory(self._run_root / job.id)
        new = NewAttempt(
            # A folder beyond what the store knows is one of a store that was lost.
            number=max(job.attempt, run.newest_attempt()) + 1,
            accelerator="gpu" if accelerator == "gpu" else "cpu",
            resume_from=_resume_point(run, self._store.attempts(job.id)),
        )
        try:
            begun = self._store.begin_attempt(job, new, now)
        except ChangedMeanwhileError:
            return
        logger.info("job %s: %s to %s, %s", job.id, job.status, begun.status, begun.message)
        self._advance(begun, ray)

    def _submit(self, job: JobRecord, attempt: AttemptRecord, ray: Ray) -> None:
        directory = self._directory(attempt)
        if order_of(directory) is None:
            token = secrets.token_urlsafe(32)
            self._store.set_token(job.id, attempt.number, sha256_of_token(token))
            write_order(
                directory,
                AttemptOrder(
                    job_id=job.id,
                    attempt=attempt.number,
                    spec=job.spec,
                    accelerator=attempt.accelerator,
                    resume_from=attempt.resume_from,
                    control_plane_url=self._url,
                    token=token,
                ),
                again=True,
            )
        command = [self._python, "-m", "trainer", "attempt", str(directory.path)]
        ray.submit(attempt.submission_id, command)
        self._store.note_submitted(job.id, attempt.number, self._clock())

    def _directory(self, attempt: AttemptRecord) -> AttemptDirectory:
        return RunDirectory(self._run_root / attempt.job_id).attempt(attempt.number)


def sha256_of_token(token: str) -> str:
    """Digest under which the store keeps an attempt's token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _known(state: RayState | None) -> bool:
    return state in {RayState.ALIVE, RayState.ENDED}


def _may_start(job: JobRecord, now: datetime) -> bool:
    if job.desired is not Desired.RUN:
        return False
    if job.status is Status.RETRYING:
        return job.retry_at is None or job.retry_at <= now
    return job.status is Status.QUEUED


def _resume_point(run: RunDirectory, attempts: Sequence[AttemptRecord]) -> str | None:
    latest = latest_checkpoint(run, [attempt.number for attempt in attempts])
    for damaged in latest.damaged:
        logger.warning("%s; an earlier one is taken", damaged)
    if latest.checkpoint is None:
        return None
    return str(latest.checkpoint.folder.relative_to(run.path))


def _read_outcome(file: Path) -> Outcome | None:
    try:
        return Outcome.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        logger.warning("%s is not an outcome: %s", file, error)
        return None


def _event_of(line: bytes) -> AttemptEvent | None:
    try:
        return AttemptEvent.model_validate_json(line)
    except ValidationError:
        return None
