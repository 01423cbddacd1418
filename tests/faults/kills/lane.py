"""Jobs one after another, each of which is killed several times before it is done."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from tests.acceptance.product import ledger_lines
from tests.faults.kills.local_cluster import (
    driver,
    launcher,
    loader,
    processes_of,
    supervisor,
)
from tests.faults.kills.roles import Kill, Role
from tests.faults.kills.shared_service import PATIENCE_S, SharedService
from tests.faults.mortal_service import FAILPOINTS
from tests.faults.small_jobs import SmallJobs
from tests.faults.trials import Trial
from tests.waiting import wait_for
from trainer.contract.run_directory import AttemptDirectory
from trainer.contract.status import TERMINAL

T = TypeVar("T")

# An attempt is killed so many steps after its first, of the 500 that a job has: a third of them
# before it has committed a checkpoint.
MAX_STEPS = 30
# So often a job is paused, and goes on, between two kills.
PAUSED = 0.15
FAILPOINT_PATIENCE_S = 30.0


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


class Lane:
    """What one thread does."""

    def __init__(self, service: SharedService, say: Callable[[str], None]) -> None:
        self._service = service
        self._say = say

    def see_through(self, job: JobUnderFire, kill: Kill) -> bool:
        """Kill, and wait until the job goes on; say whether it was not over before."""
        draw = kill.draw()
        try:
            if draw.random() < PAUSED:
                self._pause(job)
            number = self._await_steps(job, draw.randrange(1, MAX_STEPS))
        except JobIsOverError:
            return False
        time.sleep(draw.uniform(0, 0.05))
        trial = Trial(kill.row, kill.role.value, kill.seed)
        job.trials.append(trial)
        self._say(f"{kill.number}: {kill.role.value}, of attempt {number} of {job.id}")
        try:
            self._strike(job, kill.role, number, trial, draw)
        except JobIsOverError:
            job.trials.remove(trial)
            return False
        return True

    def _strike(
        self, job: JobUnderFire, role: Role, number: int, trial: Trial, draw: random.Random
    ) -> None:
        match role:
            case Role.CONTROL_PLANE:
                self._kill_control_plane(trial, draw)
            case Role.FAILPOINT:
                self._kill_at_failpoint(job, number, trial, draw)
            case Role.FORK_SERVER:
                self._kill_fork_server(job, number, trial, draw)
            case Role.STARTING:
                self._kill_starting(job, number, trial, draw)
            case Role.FROZEN_WORKER:
                self._freeze(job, number, trial, draw)
            case _:
                number = self._kill(job, role, number, trial, draw)
                self._await_recovery(job, number, trial)

    def _kill(
        self,
        job: JobUnderFire,
        role: Role,
        number: int,
        trial: Trial,
        draw: random.Random,
        *,
        before: Callable[[], None] = lambda: None,
    ) -> int:
        """Kill a process of the newest attempt, which may be another by now; return its number.

        `before` is called when it is found: it may be the end of the control plane.
        """
        how = signal.SIGSTOP if role is Role.FROZEN_WORKER else signal.SIGKILL
        over_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < over_s:
            number = max(number, self._running(job))
            # Not while another has Ray restart.
            with self._service.turn(), suppress(ProcessLookupError):
                pid = self._find(job, role, number, draw)
                trial.strike()
                if pid is not None:
                    # One that is gone already is no reason to call `before`, which is not undone.
                    os.kill(pid, 0)
                    before()
                    job.struck.add(number)
                    os.kill(pid, how)
                    return number
            time.sleep(0.05)
        raise AssertionError(f"nobody of {job.id} was found: {role}")

    def _find(self, job: JobUnderFire, role: Role, number: int, draw: random.Random) -> int | None:
        attempt = self._attempt(job, number)
        workers = worker_pids(attempt)
        worker = draw.choice(workers) if workers else None
        submission = f"{job.id}-{number}"
        match role:
            case Role.WORKER | Role.FROZEN_WORKER:
                return worker
            case Role.LOADER:
                return None if worker is None else loader(worker)
            case Role.CONTROLLER:
                return self._service.cluster.actor(submission, "TrainController")
            case Role.DRIVER:
                return driver(attempt, workers)
            case Role.LAUNCHER:
                found = launcher(attempt)
                return None if found is None else found.pid
            case Role.SUPERVISOR:
                return supervisor(attempt)
            case _:
                raise AssertionError(role)

    def _kill_control_plane(self, trial: Trial, draw: random.Random) -> None:
        # It is not for its attempts to suffer: when the job is over, each that failed must have
        # been struck itself.
        with self._service.turn():
            trial.strike()
            self._service.kill(draw)
            trial.recovered()

    def _freeze(self, job: JobUnderFire, number: int, trial: Trial, draw: random.Random) -> None:
        # Whoever stops Ray or the control plane meanwhile has it end of that.
        with self._service.turn():
            number = self._kill(job, Role.FROZEN_WORKER, number, trial, draw)
            self._await_recovery(job, number, trial)
            reasons = {
                one["number"]: (one["outcome"] or {}).get("reason")
                for one in self._service.job(job.id)["attempts"]
            }
        trial.must(reasons[number] == "hung", "J", f"a hang is told as {reasons[number]}")

    def _kill_at_failpoint(
        self, job: JobUnderFire, number: int, trial: Trial, draw: random.Random
    ) -> None:
        # What follows from the death of a worker passes all of them but the first.
        point = draw.choice([one for one in FAILPOINTS if (one.place, one.call) != _ACCEPTING])
        self._say(f"  {point}")
        with self._service.turn():
            worker = Trial("5", Role.WORKER)
            number = self._kill(
                job, Role.WORKER, number, worker, draw, before=lambda: self._service.arm(point)
            )
            died = self._service.wait_dead(FAILPOINT_PATIENCE_S)
            trial.strike()
            if died:
                self._service.start()
        trial.must(died, "J", "it was not passed")
        self._await_recovery(job, number, trial)

    def _kill_fork_server(
        self, job: JobUnderFire, number: int, trial: Trial, draw: random.Random
    ) -> None:
        with self._service.turn():
            server = self._service.cluster.fork_server()
            assert server is not None, "there is no warm process"
            os.kill(server, signal.SIGKILL)
            try:
                number = self._kill(job, Role.WORKER, number, trial, draw)
                self._await_recovery(job, number, trial)
            finally:
                # Otherwise all that follow would start cold.
                self._service.restart()

    def _kill_starting(
        self, job: JobUnderFire, number: int, trial: Trial, draw: random.Random
    ) -> None:
        number = self._kill(job, Role.WORKER, number, Trial("5", Role.WORKER), draw)
        self._wait_for(job, "the next attempt", lambda: self._newest(job) > number)
        number = self._newest(job)
        time.sleep(draw.uniform(0, 5))
        find = draw.choice([supervisor, _launcher_pid])
        pid = self._wait_for(job, "its driver", lambda: find(self._attempt(job, number)))
        trial.strike()
        job.struck.add(number)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._await_recovery(job, number, trial)

    # What is waited for

    def _pause(self, job: JobUnderFire) -> None:
        with self._service.turn():
            is_heard = self._service.wish(job.id, "pause")
        if not is_heard:
            raise JobIsOverError
        self._wait_for(job, "its pause", lambda: self._status(job) in {"PAUSED", *TERMINAL})
        if self._status(job) in TERMINAL:
            raise JobIsOverError
        assert self._service.wish(job.id, "resume"), f"{job.id} is paused and cannot go on"

    def _await_steps(self, job: JobUnderFire, num_steps: int) -> int:
        """Wait until the newest attempt has done so many steps; return its number."""

        def reached() -> int | None:
            if self._is_over(job):
                raise JobIsOverError
            number = self._newest(job)
            done = number and self._steps(job, number) >= num_steps
            return number if done else None

        return self._wait_for(job, f"step {num_steps} of an attempt", reached)

    def _await_recovery(self, job: JobUnderFire, number: int, trial: Trial) -> None:
        """Wait until an attempt is known to have ended, and the next has done a step."""

        def ended() -> bool:
            # By its number: one that the control plane died of beginning has only a folder.
            attempts = self._service.job(job.id)["attempts"]
            return any(one["number"] == number and one["ended_at"] for one in attempts)

        self._wait_for(job, f"the end of attempt {number}", ended)
        trial.detected()

        def went_on() -> bool:
            return self._is_over(job) or any(
                self._steps(job, one) for one in range(number + 1, self._newest(job) + 1)
            )

        self._wait_for(job, f"a step after attempt {number}", went_on)
        trial.recovered()
        run = self._service.run(job.id)
        old = run.attempt(number).path
        self._wait_for(
            job, f"the processes of attempt {number} to go", lambda: not any(processes_of(old))
        )

    def _running(self, job: JobUnderFire) -> int:
        if self._is_over(job):
            raise JobIsOverError
        return self._newest(job)

    def _is_over(self, job: JobUnderFire) -> bool:
        # By the folder first: it costs no request.
        return self._service.run(job.id).report.exists() or self._status(job) in TERMINAL

    def _status(self, job: JobUnderFire) -> str:
        return str(self._service.job(job.id)["status"])

    def _newest(self, job: JobUnderFire) -> int:
        return self._service.run(job.id).newest_attempt()

    def _attempt(self, job: JobUnderFire, number: int) -> AttemptDirectory:
        return self._service.run(job.id).attempt(number)

    def _steps(self, job: JobUnderFire, number: int) -> int:
        return len(ledger_lines(self._attempt(job, number).path))

    def _wait_for(self, job: JobUnderFire, what: str, probe: Callable[[], T | None]) -> T:
        return wait_for(f"{what} ({job.id})", probe, timeout_s=PATIENCE_S, every_s=0.1)


_ACCEPTING = ("Store", "submit")


def _launcher_pid(attempt: AttemptDirectory) -> int | None:
    found = launcher(attempt)
    return None if found is None else found.pid


def worker_pids(attempt: AttemptDirectory) -> list[int]:
    """Return the process of each replica, as the attempt's first event tells; none before it."""
    with suppress(FileNotFoundError):
        for line in attempt.events.read_text().splitlines()[:1]:
            return list(json.loads(line)["data"]["worker_pids"])
    return []
