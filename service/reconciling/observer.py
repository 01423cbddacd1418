"""Sees how attempts stand: what Ray tells of them, and what lies in their folders."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from service.cluster.ray_jobs import RayJob, RayUnreachableError
from service.jobs.lifecycle import Observation, RayState
from service.jobs.records import AttemptRecord, JobRecord
from service.jobs.silence import Patience
from service.reconciling.attempt_files import has_advanced, read_outcome, redirect, unusable
from service.reconciling.listener import Listener
from service.store.attempts import withdraw_verdict
from service.store.running import num_alike
from service.store.store import Store
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.death import DRIVER_ENDS
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.status import Status

# A leader that was frozen before it wrote an order may write it after it was deposed. Assumed: an
# attempt may report to nobody for so long, since it keeps what it has to tell.
REDIRECT_EVERY_S = 30.0
# To ask Ray of a job takes 1.1 ms of this process (measured), as long as all else of ten. Where
# more than so many run, those that are heard of take turns, so that a second has so many asked.
ASKED_EACH_TIME = 50
ASKS_PER_S = 100
# Assumed: an attempt that lives is heard of more often than that.
HEARD_WITHIN_S = 15.0
# By then Ray has ended whom it was asked to stop (`ray_jobs.STOP_ENVIRONMENT`), twice over.
STOPPED_WITHIN_S = 30.0


@dataclass
class _Memory:
    """What is remembered of an attempt from one look to the next."""

    directory: AttemptDirectory
    redirect_due_s: float = float("-inf")
    """When to look again whether its order names this control plane."""
    ask_due_s: float = float("-inf")
    """When to ask Ray again, though it is heard of; it was alive when it was asked last."""
    unseen_since: datetime | None = None
    """Since when it is over and its folder cannot be read."""
    told_since_s: float | None = None
    """Since when it is seen to have left an outcome."""
    reprieved_since_s: float | None = None
    """Since when it is seen to report with a verdict that is no fault of its own."""
    events_after_stop: int | None = None
    """How many it had once a stop that it was sent for that would have ended it."""


class Observer:
    """Looks at one attempt after another, and remembers of each what the next look needs."""

    def __init__(
        self,
        store: Store,
        *,
        run_root: Path,
        control_plane_url: str,
        patience: Patience,
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._run_root = run_root
        self._url = control_plane_url
        self._monotonic = monotonic
        self._listener = Listener(patience)
        self._memories: dict[str, _Memory] = {}
        self._num_running = 0

    def expect(self, num_running: int) -> None:
        """Hear how many attempts run, on which it depends how often Ray is asked of each."""
        self._num_running = num_running

    def directory(self, attempt: AttemptRecord) -> AttemptDirectory:
        """Return the folder of an attempt."""
        return self._memory(attempt).directory

    def forget(self, attempt: AttemptRecord) -> None:
        """Remember nothing more of an attempt that has ended."""
        self._listener.forget(attempt)
        self._memories.pop(attempt.submission_id, None)

    def observe(
        self,
        job: JobRecord,
        attempt: AttemptRecord,
        ask: Callable[[str], RayJob] | None,
        now: datetime,
    ) -> Observation:
        """Return how an attempt stands. `ask`: what Ray is asked by; None: it cannot be reached."""
        if ask is None:
            return self.look(job, attempt, Observation(ray=None), now)
        memory, now_s = self._memory(attempt), self._monotonic()
        if self._is_heard_of(job, attempt, now_s) and now_s < memory.ask_due_s:
            seen = self.look(job, attempt, Observation(ray=RayState.ALIVE), now)
            if (seen.outcome, seen.overdue, seen.storage_trouble) == (None, None, None):
                return seen
        # Ray first: a driver that has ended has written its outcome before.
        try:
            known = ask(attempt.submission_id)
            seen = Observation(
                ray=known.state, ray_message=known.message, exit_code=known.exit_code
            )
        except RayUnreachableError as error:
            seen = Observation(ray=None, ray_message=str(error))
        memory.ask_due_s = float("-inf")
        if seen.ray is RayState.ALIVE and self._num_running > ASKED_EACH_TIME:
            # Drawn, so that not all that were found at once have their turn at once.
            turn_s = self._num_running / ASKS_PER_S * random.uniform(0.5, 1.5)
            memory.ask_due_s = now_s + min(turn_s, HEARD_WITHIN_S)
        return self.look(job, attempt, seen, now)

    def _is_heard_of(self, job: JobRecord, attempt: AttemptRecord, now_s: float) -> bool:
        return job.status is Status.RUNNING and self._listener.has_heard(
            attempt, since_s=now_s - HEARD_WITHIN_S
        )

    def look(
        self, job: JobRecord, attempt: AttemptRecord, seen: Observation, now: datetime
    ) -> Observation:
        """Add to what Ray tells what the attempt's folder does."""
        memory = self._memory(attempt)
        directory = memory.directory
        over = seen.ray in {RayState.ABSENT, RayState.ENDED}
        try:
            outcome = read_outcome(directory)
            overdue = _verdict(attempt, seen.ray)
            if overdue is not attempt.outcome:
                self._reconsider_verdict(attempt, memory)
            if overdue is None and seen.ray is RayState.ALIVE:
                overdue = self._listener.listen(job, attempt, directory, self._monotonic())
            if outcome is None and seen.ray is not RayState.ENDED:
                self._redirect(memory)
            told_for_s = 0.0 if outcome is None else self._told_for_s(memory)
            failed = over and (outcome is None or outcome.outcome == "failed")
            # Every byte of a checkpoint is read for it: only where it makes a difference.
            asked = failed and job.num_failures > 0
            advanced = asked and has_advanced(
                RunDirectory(directory.run),
                self._store.attempt_numbers(job.id),
                attempt.resume_from,
            )
        except OSError as error:
            if over and memory.unseen_since is None:
                memory.unseen_since = now
            since = (memory.unseen_since or now) if over else now
            return replace(
                seen,
                storage_trouble=unusable(directory.run, error),
                storage_trouble_age=now - since,
                num_alike=self._num_alike(attempt, Reason.NO_STORAGE) if over else 0,
            )
        memory.unseen_since = None
        waited_for = _waited_for(seen, outcome) if over else None
        return replace(
            seen,
            outcome=outcome,
            outcome_age=timedelta(seconds=told_for_s),
            has_advanced=advanced,
            overdue=overdue,
            num_alike=0 if waited_for is None else self._num_alike(attempt, waited_for),
        )

    def _memory(self, attempt: AttemptRecord) -> _Memory:
        memory = self._memories.get(attempt.submission_id)
        if memory is None:
            directory = RunDirectory(self._run_root / attempt.job_id).attempt(attempt.number)
            memory = self._memories[attempt.submission_id] = _Memory(directory)
        return memory

    def _num_alike(self, attempt: AttemptRecord, reason: Reason) -> int:
        return self._store.read(
            lambda connection: num_alike(connection, attempt.job_id, attempt.number, reason)
        )

    def _reconsider_verdict(self, attempt: AttemptRecord, memory: _Memory) -> None:
        """Take back a verdict that it lived on through: it would hide what it fails of later.

        Whether a stop was sent for it, and reached Ray, is known to no process for sure. One that
        did ends the attempt soon, whatever it reports meanwhile: who still reports was sent none.
        """
        now_s = self._monotonic()
        if memory.reprieved_since_s is None:
            memory.reprieved_since_s = now_s
        if now_s - memory.reprieved_since_s < STOPPED_WITHIN_S:
            return
        if memory.events_after_stop is None:
            memory.events_after_stop = attempt.events_through
        if attempt.events_through > memory.events_after_stop:
            memory.reprieved_since_s = memory.events_after_stop = None
            self._store.write(
                lambda connection: withdraw_verdict(connection, attempt.job_id, attempt.number)
            )

    def _told_for_s(self, memory: _Memory) -> float:
        """Return for how long its outcome is seen, whenever a file server says it was written."""
        now_s = self._monotonic()
        if memory.told_since_s is None:
            memory.told_since_s = now_s
        return now_s - memory.told_since_s

    def _redirect(self, memory: _Memory) -> None:
        """Have an attempt that may live report here, whoever began it."""
        now_s = self._monotonic()
        if now_s >= memory.redirect_due_s:
            self._store.check_fence()
            redirect(memory.directory, self._url)
            memory.redirect_due_s = now_s + REDIRECT_EVERY_S


def _waited_for(seen: Observation, outcome: Outcome | None) -> Reason | None:
    """Return the reason of an end that is waited for ever longer, and counts as no failure."""
    reason = DRIVER_ENDS.get(seen.exit_code) if outcome is None else outcome.reason
    return reason if outcome is None or reason is Reason.NO_STORAGE else None


def _verdict(attempt: AttemptRecord, ray: RayState | None) -> Outcome | None:
    """Return what is stored of why it is stopped, as far as that still holds.

    Once it is stopped for its silence, no sign of life changes that. An interruption is no fault
    of its own: where it reports and lives, it was given its devices after all, and goes on. Nor is
    a pause before it has any: where it reports, it hears of that by itself.
    """
    verdict = attempt.outcome
    if verdict is None or (
        verdict.reason is not Reason.INTERRUPTED and verdict.outcome != "paused"
    ):
        return verdict
    return None if ray is RayState.ALIVE and attempt.events_through > 0 else verdict
