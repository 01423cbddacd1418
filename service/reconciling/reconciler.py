"""The one loop that compares store, run directory and Ray, and the only writer of statuses."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from service.cluster.ray_jobs import RayUnreachableError
from service.cluster.submission import Origin
from service.jobs.lifecycle import Decision, Observation, RayState, decide
from service.jobs.records import AttemptRecord, JobRecord
from service.jobs.silence import Patience
from service.reconciling.activity import Activity
from service.reconciling.attempt_files import read_spool
from service.reconciling.driver_log import keep_driver_log, lacks_log
from service.reconciling.left_groups import LeftGroups
from service.reconciling.observer import Observer
from service.reconciling.orphans import end_orphans
from service.reconciling.reach import Ray, Reach
from service.reconciling.starter import Starter
from service.reconciling.troubles import Troubles
from service.scheduling.queue import QueuePolicy
from service.steady_clock import now_utc
from service.store.attempts import note_verdict
from service.store.errors import ChangedMeanwhileError, StaleAttemptError
from service.store.leases import LostLeadershipError
from service.store.running import running_attempts
from service.store.store import Store
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import ACTIVE, Status

logger = logging.getLogger(__name__)

INTERRUPTED = Outcome(
    outcome="failed",
    reason=Reason.INTERRUPTED,
    message="the control plane was stopped, and its local Ray with it",
)

# How long a store that does not answer is waited for at the stop, beyond which its jobs are found
# lost at the next start.
INTERRUPT_PATIENCE_S = 30.0
INTERRUPT_PAUSE_S = 0.1


# The list is of all that Ray remembers. Assumed: a driver that nobody wants may live so long.
ORPHANS_EVERY_S = 30.0


class Reconciler:
    """Moves every job on, a step at a time. Any step may be the last before a crash."""

    def __init__(
        self,
        store: Store,
        *,
        run_root: Path,
        data_roots: tuple[str, ...],
        control_plane_url: str,
        python: str,
        policy: QueuePolicy | None = None,
        patience: Patience | None = None,
        clock: Callable[[], datetime] = now_utc,
        monotonic: Callable[[], float] = time.monotonic,
        is_stopping: Callable[[], bool] = lambda: False,
        activity: Activity | None = None,
    ) -> None:
        """`is_stopping`: asked between jobs; then a tick ends where it is.

        `activity`: told of each job that is begun with.
        """
        self._store = store
        self._run_root = run_root
        self._python = python
        self._clock = clock
        self._monotonic = monotonic
        self._is_stopping = is_stopping
        self._activity = activity or Activity()
        self._observer = Observer(
            store,
            run_root=run_root,
            control_plane_url=control_plane_url,
            patience=patience or Patience(),
            monotonic=monotonic,
        )
        self._troubles = Troubles()
        self._starter = Starter(
            store,
            run_root=run_root,
            data_roots=data_roots,
            control_plane_url=control_plane_url,
            policy=policy or QueuePolicy(),
            troubles=self._troubles,
            clock=clock,
        )
        self._left_groups = LeftGroups(store, self._python, self._monotonic)
        self._orphans_due_s = float("-inf")
        self._logs_told: set[str] = set()
        """Submissions that Ray has told the log of, whose end is yet to be stored."""

    def tick(self, ray: Ray | None) -> None:
        """Advance every live job once, then admit who may start. None: Ray cannot be reached."""
        self._starter.pause_for_drain()
        jobs = self._store.live_jobs()
        running = self._store.read(running_attempts)
        self._observer.expect(len(running))
        reach = None if ray is None else Reach(ray)
        for job in jobs:
            if self._is_stopping():
                return
            self._activity.begin(f"job {job.id}")
            try:
                self._try_to_advance(job, reach, running.get(job.id))
            except RayUnreachableError as error:
                self._tell(job, str(error))
        self._activity.begin("the queue")
        if reach is None:
            self._starter.note_outage()
        else:
            self._end_orphans(reach)
            for begun in self._starter.begin(reach.cluster):
                # While Ray takes no job, no more are begun.
                self._activity.begin(f"job {begun.id}")
                self._try_to_advance(begun, reach)
                if self._is_stopping():
                    return
                self._activity.begin("the queue")

    def _end_orphans(self, ray: Ray) -> None:
        if self._monotonic() < self._orphans_due_s:
            return
        self._orphans_due_s = self._monotonic() + ORPHANS_EVERY_S
        try:
            end_orphans(self._store, ray, self._troubles)
            self._left_groups.release(ray)
        except RayUnreachableError as error:
            logger.warning("what is left in Ray is looked for later: %s", error)

    def interrupt(self) -> None:
        """End every attempt: the Ray they ran in was stopped on purpose. They go on later.

        Whatever hinders one job hinders no other; a store that is locked is waited for.
        """
        deadline = time.monotonic() + INTERRUPT_PATIENCE_S
        pending = deque(self._store.live_jobs())
        while pending:
            job = pending.popleft()
            try:
                self._interrupt(job)
            except SQLAlchemyError:
                if time.monotonic() >= deadline:
                    left = ", ".join(one.id for one in (job, *pending))
                    logger.exception("the store does not answer; not told of the stop: %s", left)
                    return
                pending.append(job)
                time.sleep(INTERRUPT_PAUSE_S)
            except Exception:
                logger.exception("job %s could not be told of the stop", job.id)

    def _interrupt(self, job: JobRecord) -> None:
        while (current := self._store.job(job.id)).status in ACTIVE:
            attempt = self._store.attempt(current.id, current.attempt)
            seen = self._observer.look(
                current, attempt, Observation(ray=RayState.ENDED), self._clock()
            )
            seen = replace(seen, outcome=seen.outcome or INTERRUPTED)
            self._follow(current, attempt, seen, self._clock())

    def _try_to_advance(
        self, job: JobRecord, ray: Ray | None, known: AttemptRecord | None = None
    ) -> None:
        """Advance one job; its trouble must not hold up the others: the next tick tries again.

        Raises RayUnreachableError.
        """
        try:
            self._tell(job, self._advance(job, ray, known))
        except ChangedMeanwhileError:
            return
        except (RayUnreachableError, LostLeadershipError):
            raise
        except Exception as error:
            if self._troubles.is_news(job.id, repr(error)):
                logger.exception("job %s could not be advanced", job.id)

    def _tell(self, job: JobRecord, trouble: str | None) -> None:
        if self._troubles.is_news(job.id, trouble):
            logger.warning("job %s: %s", job.id, trouble or "its trouble is over")

    def _advance(self, job: JobRecord, ray: Ray | None, known: AttemptRecord | None) -> str | None:
        """Take the next step, if there is one; return what stands in the way of seeing it."""
        now = self._clock()
        if job.status not in ACTIVE:
            self._follow(job, None, Observation(ray=None), now)
            return None
        attempt = known
        if attempt is None or attempt.number != job.attempt or job.status is not Status.RUNNING:
            attempt = self._store.attempt(job.id, job.attempt)
        seen = self._observer.observe(job, attempt, None if ray is None else ray.job, now)
        if attempt.submitted_at is None and _known(seen.ray):
            self._store.note_submitted(job.id, attempt.number, now)
        if ray is not None and seen.ray is RayState.ENDED and seen.outcome is None:
            self._keep_log(attempt, ray, seen)
        decision = self._follow(job, attempt, seen, now)
        if decision.act is not None:
            assert ray is not None
            # This process may have slept since it decided.
            self._store.check_fence()
            if decision.act == "submit":
                self._submit(attempt, ray)
            elif self._note_verdict(attempt, seen):
                ray.stop(attempt.submission_id)
        if decision.ended is not None:
            return None
        return seen.storage_trouble or (seen.ray_message if seen.ray is None else None)

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
            if attempt is not None and decision.ended is not None:
                self._observer.forget(attempt)
                self._logs_told.discard(attempt.submission_id)
        elif decision.message is not None and decision.message != job.message:
            self._store.note_wait(job.id, decision.message)
        return decision

    def _note_verdict(self, attempt: AttemptRecord, seen: Observation) -> bool:
        """Store why it is stopped: whoever sees its end may be another process.

        Return whether it still is to be: one that has just reported hears of a pause by itself.
        """
        verdict = seen.overdue
        if verdict is None or verdict == attempt.outcome:
            return True
        if_unheard = verdict.outcome == "paused"
        return self._store.write(
            lambda connection: note_verdict(
                connection, attempt.job_id, attempt.number, verdict, if_unheard=if_unheard
            )
        )

    def _keep_log(self, attempt: AttemptRecord, ray: Ray, seen: Observation) -> None:
        """Give an attempt that has none a log, before whoever follows it is told of its end."""
        directory, name = self._observer.directory(attempt), attempt.submission_id
        if name in self._logs_told or not lacks_log(directory):
            return
        self._store.check_fence()
        if keep_driver_log(directory, lambda: ray.log(name), seen.ray_message):
            self._logs_told.add(name)

    def _take_spool(self, job: JobRecord) -> None:
        """Store what the attempt wrote down and could not send."""
        spooled = read_spool(RunDirectory(self._run_root / job.id).attempt(job.attempt))
        try:
            self._store.append_events(job.id, job.attempt, spooled)
        except StaleAttemptError:
            return

    def _submit(self, attempt: AttemptRecord, ray: Ray) -> None:
        command = [
            self._python,
            "-m",
            "trainer",
            "attempt",
            str(self._observer.directory(attempt).path),
        ]
        origin = Origin(store_id=self._store.id, job_id=attempt.job_id)
        ray.submit(attempt.submission_id, command, origin)
        self._store.note_submitted(attempt.job_id, attempt.number, self._clock())


def _known(state: RayState | None) -> bool:
    return state in {RayState.ALIVE, RayState.ENDED}
