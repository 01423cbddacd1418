"""The reconciler dies before and after each thing that it does, and the next one goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.jobs.events import StatusChanged
from service.jobs.lifecycle import CANCEL_GRACE
from service.store.store import Store
from tests.unit.service.world import World, event_of
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import TRANSITIONS, Desired, Status

# What changes something outside the reconciler.
STORE_CALLS = ("begin_attempt", "apply", "note_submitted", "note_wait", "append_events")
RAY_CALLS = ("submit", "stop", "job")

Action = Callable[[World, str], None]


class Death(BaseException):
    """The process is gone: no handler of ours catches it."""


class Failpoints:
    """Counts what a reconciler does, and has it die at one of them.

    `of_store`: counts what it has the store do alone.
    """

    def __init__(
        self, world: World, monkeypatch: pytest.MonkeyPatch, *, of_store: bool = False
    ) -> None:
        self._world = world
        self.begin(None)
        calls: list[tuple[object, str]] = [(world.store, name) for name in STORE_CALLS]
        calls += [] if of_store else [(world.ray, name) for name in RAY_CALLS]
        for place, name in calls:
            monkeypatch.setattr(place, name, partial(self._pass, getattr(place, name)))

    def begin(self, fatal: int | None, *, after: bool = False) -> None:
        """Die before or after the `fatal`-th from now on; None: at none."""
        self.num_passed = 0
        self._fatal, self._after = fatal, after

    def _pass(self, call: Callable[..., Any], *given: Any, **options: Any) -> Any:
        self.num_passed += 1
        fatal = self.num_passed == self._fatal
        if fatal and not self._after:
            raise Death
        answer = call(*given, **options)
        if fatal:
            raise Death
        return answer

    def settle(self) -> None:
        """Reconcile until nothing changes any more, as many processes as that takes."""
        for _ in range(3):
            try:
                self._world.tick()
            except Death:
                self._world.restart()


def _wish(desired: Desired, world: World, job_id: str) -> None:
    world.store.ask(job_id, desired)


def _report(world: World, job_id: str) -> None:
    Store.append_events(world.store, job_id, world.store.job(job_id).attempt, [event_of(1)])


def _end(outcome: str, reason: Reason | None, world: World, job_id: str) -> None:
    number = world.store.job(job_id).attempt
    told = Outcome.model_validate({"outcome": outcome, "reason": reason})
    world.end(told, number, job_id)


def _wait(seconds: float, world: World, _job_id: str) -> None:
    world.now += timedelta(seconds=seconds)


def _die(world: World, job_id: str) -> None:
    world.ray.end(f"{job_id}-{world.store.job(job_id).attempt}", "killed")


pause, resume, cancel = (
    partial(_wish, one) for one in (Desired.PAUSE, Desired.RUN, Desired.CANCEL)
)
succeed, paused = partial(_end, "succeeded", None), partial(_end, "paused", None)
break_data = partial(_end, "failed", Reason.BAD_DATA)
wait_for_retry, grace = partial(_wait, 10.0), partial(_wait, CANCEL_GRACE.total_seconds())
deadline = partial(_wait, 3600.0)
report, die = _report, _die


@dataclass(frozen=True)
class Life:
    """What happens to a job, the reconciler settling after each."""

    actions: Sequence[Action]
    end: Status


LIVES = {
    "succeeds": Life((report, succeed), Status.SUCCEEDED),
    "is done before it reports": Life((succeed,), Status.SUCCEEDED),
    "crashes and succeeds": Life((report, die, wait_for_retry, report, succeed), Status.SUCCEEDED),
    "crashes at its start": Life((die, wait_for_retry, succeed), Status.SUCCEEDED),
    "has bad data": Life((report, break_data), Status.FAILED),
    "has bad data at its start": Life((break_data,), Status.FAILED),
    "crashes too often": Life(
        (die, wait_for_retry, die, wait_for_retry, report, die), Status.FAILED
    ),
    "pauses and goes on": Life((report, pause, paused, resume, report, succeed), Status.SUCCEEDED),
    "pauses at its start": Life((pause, paused, cancel), Status.CANCELLED),
    "dies pausing": Life((report, pause, die), Status.PAUSED),
    "is done when it is to pause": Life((report, pause, succeed), Status.SUCCEEDED),
    "has bad data pausing": Life((report, pause, break_data), Status.FAILED),
    "is cancelled pausing": Life((report, pause, cancel, grace, die), Status.CANCELLED),
    "is cancelled": Life((report, cancel, grace, die), Status.CANCELLED),
    "is cancelled at its start": Life((cancel, die), Status.CANCELLED),
    "is done before it hears of a cancel": Life((report, cancel, succeed), Status.SUCCEEDED),
    "is cancelled retrying": Life((die, cancel), Status.CANCELLED),
    "is paused retrying": Life((die, pause), Status.PAUSED),
    "retries past its deadline": Life((die, deadline), Status.FAILED),
    "is paused past its deadline": Life((report, pause, paused, deadline), Status.FAILED),
    "runs past its deadline": Life((report, deadline, paused), Status.FAILED),
}
# Of jobs that wait for room.
WAITING_LIVES = {
    "is cancelled waiting": Life((cancel,), Status.CANCELLED),
    "is paused waiting": Life((pause,), Status.PAUSED),
    "waits past its deadline": Life((deadline,), Status.FAILED),
}
# Of jobs of which another wants the room: tests of the queue have them.
ELSEWHERE = {(Status.PAUSING, Status.QUEUED)}


@pytest.fixture
def world(tmp_path: Path, store: Store) -> World:
    return World(tmp_path, store)


def live(world: World, points: Failpoints, life: Life, job_id: str) -> tuple[object, ...]:
    """Have a job live so; return what must not depend on who died on the way."""
    retry = {"backoff_s": 4, "max_attempts": 3, "deadline_s": 3600}
    world.submit(job_id, retry=retry)
    points.settle()
    for action in life.actions:
        action(world, job_id)
        points.settle()
    job = world.store.job(job_id)
    assert job.status is life.end
    transitions = world.transitions(job_id)
    # A beginning that was cut short has used up a number, and nothing else.
    numbers = world.store.attempt_numbers(job_id)
    submitted = [name for name in world.ray.jobs if name.startswith(f"{job_id}-")]
    assert submitted == [f"{job_id}-{number}" for number in numbers]
    if not job.is_terminal:
        # It must not live on among those that follow.
        world.store.ask(job_id, Desired.CANCEL)
        points.settle()
    return job.status, job.reason, job.num_failures, len(numbers), transitions


def _passed(world: World, job_id: str) -> set[tuple[Status, Status]]:
    changes = [event.data for event in world.store.events(job_id, limit=100)]
    return {
        (change.before, change.after)
        for change in changes
        if isinstance(change, StatusChanged) and change.before is not None
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LIVES, *WAITING_LIVES])
def test_a_job_comes_to_the_same_wherever_the_reconciler_dies(
    world: World, monkeypatch: pytest.MonkeyPatch, database: str, name: str
) -> None:
    if name in WAITING_LIVES:
        world.ray.num_cpus = 0.0
    life = (LIVES | WAITING_LIVES)[name]
    # What Ray is asked and the files in between are alike on both databases: on the slower one the
    # deaths after each call of the store leave all that a store can be left with.
    is_fast = database == "sqlite"
    sides = (False, True) if is_fast else (True,)
    points = Failpoints(world, monkeypatch, of_store=not is_fast)
    undisturbed = live(world, points, life, "whole")
    num_points = points.num_passed
    assert num_points > 0
    for fatal in range(1, num_points + 1):
        for after in sides:
            points.begin(fatal, after=after)
            job_id = f"{'after' if after else 'before'}{fatal}"
            assert live(world, points, life, job_id) == undisturbed, job_id


def test_these_lives_pass_every_row_of_the_table(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = Failpoints(world, monkeypatch)
    passed: set[tuple[Status, Status]] = set()
    for number, life in enumerate(LIVES.values()):
        live(world, points, life, f"j{number}")
        passed |= _passed(world, f"j{number}")
    world.ray.num_cpus = 0.0
    for number, life in enumerate(WAITING_LIVES.values()):
        live(world, points, life, f"w{number}")
        passed |= _passed(world, f"w{number}")
    table = {(before, after) for before, row in TRANSITIONS.items() for after in row}
    assert table - passed == ELSEWHERE
