"""Jobs one after another, each of which is killed several times before it is done."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from tests.acceptance.product import worker_pids
from tests.faults.kills.local_cluster import driver, launcher, loader, supervisor
from tests.faults.kills.roles import FROZEN, Kill, Role
from tests.faults.kills.shared_service import SharedService
from tests.faults.kills.watch import RETRY, JobIsOverError, JobUnderFire, Watch
from tests.faults.mortal_service import FAILPOINTS, Failpoint
from tests.faults.small_jobs import SmallJobs
from tests.faults.trials import Trial
from trainer.contract.run_directory import AttemptDirectory

# An attempt is killed so many steps after its first, of the 500 that a job has: a third of them
# before it has committed a checkpoint.
MAX_STEPS = 30
# So often a job is paused, and goes on, between two kills.
PAUSED = 0.15
FAILPOINT_PATIENCE_S = 30.0
_STEPS_BEFORE_FREEZE = 3
# Where a job is asked to make room, and where it begins to.
_MAKING_ROOM = [
    Failpoint("Store", call, moment)
    for call in ("write make_room", "apply")
    for moment in ("before", "within", "after")
]


class Lane:
    """What one thread does."""

    def __init__(
        self, service: SharedService, urgent: SmallJobs, say: Callable[[str], None]
    ) -> None:
        """`urgent`: for which all others have to make room."""
        self._service = service
        self._watch = Watch(service)
        self._urgent = urgent
        self._say = say
        self.urgent: list[JobUnderFire] = []
        """Those that were, and that nobody has looked at yet."""

    def see_through(self, job: JobUnderFire, kill: Kill) -> bool:
        """Kill, and wait until the job goes on; say whether it was not over before."""
        draw = kill.draw()
        try:
            if draw.random() < PAUSED:
                self._watch.pause(job)
            number = self._watch.await_steps(job, draw.randrange(1, MAX_STEPS))
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
            case Role.MAKING_ROOM:
                self._kill_making_room(job, number, trial, draw)
            case Role.FROZEN_FIRST | Role.FROZEN_OTHER:
                self._freeze(job, role, trial, draw)
            case _:
                number = self._kill(job, role, number, trial, draw)
                self._watch.await_recovery(job, number, trial)

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
        how = signal.SIGSTOP if role in FROZEN else signal.SIGKILL

        def struck() -> int | None:
            newest = max(number, self._watch.running(job))
            # How long a step takes is to be known of it: nothing else tells a hang.
            if role in FROZEN and self._watch.steps(job, newest) < _STEPS_BEFORE_FREEZE:
                return None
            # Not while another has Ray restart.
            with self._service.turn(), suppress(ProcessLookupError):
                pid = self._find(job, role, newest, draw)
                trial.strike()
                if pid is not None:
                    # One that is gone already is no reason to call `before`, which is not undone.
                    os.kill(pid, 0)
                    before()
                    job.struck.add(newest)
                    os.kill(pid, how)
                    return newest
            return None

        return self._watch.wait_for(job, f"whom to strike so that {role}", struck)

    def _find(self, job: JobUnderFire, role: Role, number: int, draw: random.Random) -> int | None:
        attempt = self._watch.attempt(job, number)
        workers = worker_pids(attempt)
        worker = _drawn(role, workers, draw)
        submission = f"{job.id}-{number}"
        match role:
            case Role.WORKER | Role.FROZEN_FIRST | Role.FROZEN_OTHER:
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

    def _freeze(self, job: JobUnderFire, role: Role, trial: Trial, draw: random.Random) -> None:
        # Whoever stops Ray or the control plane meanwhile has it end of that.
        with self._service.turn():
            number = self._kill(job, role, self._watch.newest(job), trial, draw)
            self._watch.await_recovery(job, number, trial)
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
        self._watch.await_recovery(job, number, trial)

    def _kill_fork_server(
        self, job: JobUnderFire, number: int, trial: Trial, draw: random.Random
    ) -> None:
        with self._service.turn():
            server = self._service.cluster.fork_server()
            assert server is not None, "there is no warm process"
            os.kill(server, signal.SIGKILL)
            try:
                number = self._kill(job, Role.WORKER, number, trial, draw)
                self._watch.await_recovery(job, number, trial)
            finally:
                # Otherwise all that follow would start cold.
                self._service.restart()

    def _kill_starting(
        self, job: JobUnderFire, number: int, trial: Trial, draw: random.Random
    ) -> None:
        number = self._kill(job, Role.WORKER, number, Trial("5", Role.WORKER), draw)
        self._watch.wait_for(job, "the next attempt", lambda: self._watch.newest(job) > number)
        find, has_come = draw.choice([supervisor, _launcher_pid]), draw.choice(self._stages())
        # Whoever stops Ray or has it make room meanwhile would have it end of that.
        with self._service.turn():

            def found() -> tuple[int, int] | None:
                newest = self._watch.newest(job)
                attempt = self._watch.attempt(job, newest)
                pid = find(attempt) if has_come(attempt) else None
                return None if pid is None else (newest, pid)

            number, pid = self._watch.wait_for(job, "its driver", found)
            trial.strike()
            job.struck.add(number)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._watch.await_recovery(job, number, trial)

    def _stages(self) -> list[Callable[[AttemptDirectory], object]]:
        """Return what says how far an attempt has come that starts: the last, to its workers."""

        def controller(attempt: AttemptDirectory) -> int | None:
            submission = f"{attempt.run.name}-{attempt.number}"
            return self._service.cluster.actor(submission, "TrainController")

        return [launcher, lambda attempt: attempt.driver.exists(), controller, worker_pids]

    def _kill_making_room(
        self, job: JobUnderFire, number: int, trial: Trial, draw: random.Random
    ) -> None:
        point, role = draw.choice(_MAKING_ROOM), draw.choice([Role.WORKER, Role.DRIVER])
        self._say(f"  {point}, and {role}")
        with self._service.turn(), self._service.revived():
            self._service.arm(point)
            name = f"urgent-{job.id}-{number}"
            request = self._urgent.request(name=name, priority=1, retry=RETRY)
            urgent = JobUnderFire(self._service.submit(request, name), self._urgent)
            self.urgent.append(urgent)
            trial.must(not self._service.wait_met(), "J", "it was not passed")
            # Of the next attempt, where the one that was asked has ended already.
            number = self._kill(job, role, number, trial, draw)
            self._service.wait_over(urgent.id)
        self._watch.await_recovery(job, number, trial)


_ACCEPTING = ("Store", "submit")


def _drawn(role: Role, workers: Sequence[int], draw: random.Random) -> int | None:
    match role:
        case Role.FROZEN_FIRST:
            among = workers[:1]
        case Role.FROZEN_OTHER:
            among = workers[1:]
        case _:
            among = workers
    return draw.choice(among) if among else None


def _launcher_pid(attempt: AttemptDirectory) -> int | None:
    found = launcher(attempt)
    return None if found is None else found.pid
