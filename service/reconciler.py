"""The one loop that compares store, run directory and Ray, and the only writer of statuses."""

import hashlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from service.attempt_files import has_advanced, read_outcome, read_spool, redirect, resume_point
from service.lifecycle import Decision, Observation, RayState, decide, decide_unusable
from service.placement import Node, accelerator_of, admit, demand_of
from service.ray_jobs import RayJob, RayUnreachableError
from service.records import AttemptRecord, JobRecord
from service.store.errors import ChangedMeanwhileError, StaleAttemptError
from service.store.store import NewAttempt, Store
from trainer.contract.attempt import AttemptOrder, Outcome, Reason
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
        self._redirected: set[str] = set()
        """Attempts whose order is known to name this control plane."""
        self._troubles: dict[str, str] = {}
        """What was last logged of what stands in the way."""

    def tick(self, ray: Ray | None) -> None:
        """Advance every live job once, then admit who may start. None: Ray cannot be reached."""
        for job in self._store.live_jobs():
            try:
                trouble = self._advance(job, ray)
            except ChangedMeanwhileError:
                continue
            except RayUnreachableError as error:
                trouble = str(error)
            except Exception as error:
                # One job's trouble must not hold up the others; the next tick tries again.
                if self._is_news(job.id, repr(error)):
                    logger.exception("job %s could not be advanced", job.id)
                continue
            if self._is_news(job.id, trouble):
                logger.warning("job %s: %s", job.id, trouble or "its trouble is over")
        if ray is None:
            self._note_outage()
        else:
            self._admit(ray)

    def interrupt(self) -> None:
        """End every attempt: the Ray they ran in was stopped on purpose. They go on later."""
        for job in self._store.live_jobs():
            while (current := self._store.job(job.id)).status in ACTIVE:
                attempt = self._store.attempt(current.id, current.attempt)
                seen = self._look(attempt, Observation(ray=RayState.ENDED), self._clock())
                seen = replace(seen, outcome=seen.outcome or INTERRUPTED)
                self._follow(current, attempt, seen, self._clock())

    def _advance(self, job: JobRecord, ray: Ray | None) -> str | None:
        """Take the next step, if there is one; return what stands in the way of seeing it."""
        now = self._clock()
        if job.status not in ACTIVE:
            self._follow(job, None, Observation(ray=None), now)
            return None
        attempt = self._store.attempt(job.id, job.attempt)
        seen = self._observe(attempt, ray, now)
        if attempt.submitted_at is None and _known(seen.ray):
            self._store.note_submitted(job.id, attempt.number, now)
        decision = self._follow(job, attempt, seen, now)
        if decision.act is not None:
            assert ray is not None
            if decision.act == "stop":
                ray.stop(attempt.submission_id)
            else:
                self._submit(job, attempt, ray, seen)
        if decision.ended is not None:
            return None
        return seen.storage_trouble or (seen.ray_message if seen.ray is None else None)

    def _is_news(self, of: str, trouble: str | None) -> bool:
        """Remember a trouble; say whether it has changed, for only that is worth a line."""
        if trouble == self._troubles.get(of):
            return False
        if trouble is None:
            del self._troubles[of]
        else:
            self._troubles[of] = trouble
        return True

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
        seen = Observation(ray=None)
        if ray is not None:
            try:
                known = ray.job(attempt.submission_id)
                seen = Observation(ray=known.state, ray_message=known.message)
            except RayUnreachableError as error:
                seen = Observation(ray=None, ray_message=str(error))
        return self._look(attempt, seen, now)

    def _look(self, attempt: AttemptRecord, seen: Observation, now: datetime) -> Observation:
        """Add to what Ray tells what the attempt's folder does."""
        directory = self._directory(attempt)
        try:
            outcome = read_outcome(directory)
            if outcome is None and seen.ray is not RayState.ENDED:
                self._redirect(attempt)
            age = 0.0 if outcome is None else now.timestamp() - directory.outcome.stat().st_mtime
            over = seen.ray in {RayState.ABSENT, RayState.ENDED}
            return replace(
                seen,
                outcome=outcome,
                outcome_age=timedelta(seconds=age),
                has_advanced=over and has_advanced(directory, attempt.resume_from),
            )
        except OSError as error:
            return replace(seen, storage_trouble=_unusable(directory.run, error))

    def _redirect(self, attempt: AttemptRecord) -> None:
        """Have an attempt that may live report here, whoever began it."""
        if attempt.submission_id not in self._redirected:
            redirect(self._directory(attempt), self._url)
            self._redirected.add(attempt.submission_id)

    def _take_spool(self, job: JobRecord) -> None:
        """Store what the attempt wrote down and could not send."""
        spooled = read_spool(RunDirectory(self._run_root / job.id).attempt(job.attempt))
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
        beginning = f"{job.id} begins"
        try:
            self._begin(job, accelerator, ray, now)
        except RayUnreachableError:
            raise
        except Exception as error:
            # As in `tick`: the others are not to wait for this one.
            if self._is_news(beginning, repr(error)):
                logger.exception("job %s could not be started", job.id)
        else:
            self._is_news(beginning, None)

    def _begin(self, job: JobRecord, accelerator: str, ray: Ray, now: datetime) -> None:
        run = RunDirectory(self._run_root / job.id)
        number, resume_from, unusable = job.attempt + 1, None, None
        try:
            # A folder beyond what the store knows is one of a store that was lost.
            number = max(number, run.newest_attempt() + 1)
            known = [attempt.number for attempt in self._store.attempts(job.id)]
            resume_from = resume_point(run, known)
        except OSError as error:
            # Counted as an attempt, or devices would be kept free for it for ever.
            unusable = decide_unusable(job, _unusable(run.path, error), now)
        new = NewAttempt(
            number=number,
            accelerator="gpu" if accelerator == "gpu" else "cpu",
            resume_from=resume_from,
        )
        try:
            begun = self._store.begin_attempt(job, new, now, ended=unusable)
        except ChangedMeanwhileError:
            return
        logger.info("job %s: %s to %s, %s", job.id, job.status, begun.status, begun.message)
        if begun.status in ACTIVE:
            self._advance(begun, ray)

    def _submit(self, job: JobRecord, attempt: AttemptRecord, ray: Ray, seen: Observation) -> None:
        directory = self._directory(attempt)
        try:
            if order_of(directory) is None:
                self._write_order(job, attempt)
        except OSError as error:
            trouble = _unusable(directory.run, error)
            self._follow(job, attempt, replace(seen, storage_trouble=trouble), self._clock())
            return
        command = [self._python, "-m", "trainer", "attempt", str(directory.path)]
        ray.submit(attempt.submission_id, command)
        self._store.note_submitted(job.id, attempt.number, self._clock())

    def _write_order(self, job: JobRecord, attempt: AttemptRecord) -> None:
        token = secrets.token_urlsafe(32)
        self._store.set_token(job.id, attempt.number, sha256_of_token(token))
        order = AttemptOrder(
            job_id=job.id,
            attempt=attempt.number,
            spec=job.spec,
            accelerator=attempt.accelerator,
            resume_from=attempt.resume_from,
            control_plane_url=self._url,
            token=token,
        )
        write_order(self._directory(attempt), order, again=True)

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


def _unusable(folder: Path, error: OSError) -> str:
    return (
        f"the run directory {folder} cannot be used ({error}); make room on its disk, let the "
        "service write there, or move away what lies in its place"
    )
