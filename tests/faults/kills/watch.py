"""A job under fire, and what is waited for of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tests.acceptance.product import ledger_lines
from tests.faults.kills.local_cluster import processes_of
from tests.faults.kills.shared_service import PATIENCE_S, SharedService
from tests.faults.small_jobs import SmallJobs
from tests.faults.trials import Trial
from tests.waiting import wait_for
from trainer.contract.run_directory import AttemptDirectory
from trainer.contract.status import TERMINAL

T = TypeVar("T")

# Kills may come in a row before a checkpoint is: however many, the job is not to be given up.
RETRY = {"max_attempts": 100, "backoff_s": 0.1, "max_backoff_s": 0.5, "hang_floor_s": 8.0}


@dataclass
class JobUnderFire:
    """A job, and what befell it."""

    id: str
    kind: SmallJobs
    trials: list[Trial] = field(default_factory=list)
    struck: set[int] = field(default_factory=set)
    """Numbers of the attempts of which a process was killed or frozen."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Of its files when it was over."""

    @property
    def violations(self) -> list[str]:
        """What was found to be wrong so far."""
        return [violation for trial in self.trials for violation in trial.violations]


class JobIsOverError(Exception):
    """There is nothing left to be killed."""


class Watch:
    """What a service and its run directories tell of jobs."""

    def __init__(self, service: SharedService) -> None:
        self._service = service

    def pause(self, job: JobUnderFire) -> None:
        """Have it pause, and go on. Raises JobIsOverError."""
        with self._service.turn():
            is_heard = self._service.wish(job.id, "pause")
        if not is_heard:
            raise JobIsOverError
        self.wait_for(job, "its pause", lambda: self.status(job) in {"PAUSED", *TERMINAL})
        if self.status(job) in TERMINAL:
            raise JobIsOverError
        assert self._service.wish(job.id, "resume"), f"{job.id} is paused and cannot go on"

    def await_steps(self, job: JobUnderFire, num_steps: int) -> int:
        """Wait until the newest attempt has done so many steps; return its number.

        Raises JobIsOverError.
        """

        def reached() -> int | None:
            if self.is_over(job):
                raise JobIsOverError
            number = self.newest(job)
            done = number and self.steps(job, number) >= num_steps
            return number if done else None

        return self.wait_for(job, f"step {num_steps} of an attempt", reached)

    def await_recovery(self, job: JobUnderFire, number: int, trial: Trial) -> None:
        """Wait until an attempt is known to have ended, and the next has done a step."""

        def ended() -> bool:
            # By its number: one that the control plane died of beginning has only a folder.
            attempts = self._service.job(job.id)["attempts"]
            return any(one["number"] == number and one["ended_at"] for one in attempts)

        self.wait_for(job, f"the end of attempt {number}", ended)
        trial.detected()

        def went_on() -> bool:
            return self.is_over(job) or any(
                self.steps(job, one) for one in range(number + 1, self.newest(job) + 1)
            )

        self.wait_for(job, f"a step after attempt {number}", went_on)
        trial.recovered()
        run = self._service.run(job.id)
        old = run.attempt(number).path
        self.wait_for(
            job, f"the processes of attempt {number} to go", lambda: not any(processes_of(old))
        )

    def running(self, job: JobUnderFire) -> int:
        """Return the number of the newest attempt. Raises JobIsOverError."""
        if self.is_over(job):
            raise JobIsOverError
        return self.newest(job)

    def is_over(self, job: JobUnderFire) -> bool:
        """Say whether nothing is left to be done."""
        # By the folder first: it costs no request.
        return self._service.run(job.id).report.exists() or self.status(job) in TERMINAL

    def status(self, job: JobUnderFire) -> str:
        """Return where it stands."""
        return str(self._service.job(job.id)["status"])

    def newest(self, job: JobUnderFire) -> int:
        """Return the number of the newest attempt; 0: there is none."""
        return self._service.run(job.id).newest_attempt()

    def attempt(self, job: JobUnderFire, number: int) -> AttemptDirectory:
        """Return the folder of an attempt."""
        return self._service.run(job.id).attempt(number)

    def steps(self, job: JobUnderFire, number: int) -> int:
        """Return how many steps an attempt has done."""
        return len(ledger_lines(self.attempt(job, number).path))

    def wait_for(self, job: JobUnderFire, what: str, probe: Callable[[], T | None]) -> T:
        """Wait for a condition, as long as a service and its Ray take to start.

        As long again for each of the other lane's turns, of which two may come between.
        """
        return wait_for(f"{what} ({job.id})", probe, timeout_s=3 * PATIENCE_S, every_s=0.1)
