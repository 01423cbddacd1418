"""Leases among processes that are frozen at will and whose clocks run as they like."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from service.reconciling.lease import Leading, Waiting
from service.store.leases import LeaseRecord

DURATION_S = 5.0
RELEASED = LeaseRecord(
    holder="a", url="http://a", duration_s=DURATION_S, fence=1, renewals=1, released=True
)
HELD = replace(RELEASED, released=False)


def test_a_lease_that_nobody_has_or_that_was_released_is_free_at_once() -> None:
    assert not Waiting().is_free(100.0)
    assert Waiting().look(None, 0.0).is_free(0.0)
    assert Waiting().look(RELEASED, 0.0).is_free(0.0)


def test_a_lease_is_free_when_it_has_not_changed_for_its_duration_since_it_was_seen() -> None:
    waiting = Waiting().look(HELD, 10.0).look(HELD, 14.0)
    assert not waiting.is_free(14.9)
    assert waiting.is_free(15.0)
    renewed = waiting.look(replace(HELD, renewals=2), 14.9)
    assert not renewed.is_free(19.8)


def test_for_how_long_a_lease_is_as_it_is_is_known_to_whoever_saw_it_change() -> None:
    waiting = Waiting().look(HELD, 10.0)
    assert waiting.watched_s(12.0) is None
    assert Waiting().watched_s(12.0) is None
    changed = waiting.look(replace(HELD, renewals=2), 13.0).look(replace(HELD, renewals=2), 14.0)
    assert changed.watched_s(15.0) == 2.0


def test_a_holder_that_slept_does_not_regard_itself_as_the_leader() -> None:
    leading = Leading(fence=1, duration_s=DURATION_S, renewed_s=0.0)
    assert leading.holds(3.9)
    assert not leading.holds(4.0)
    assert leading.renew(3.9).holds(7.8)


@dataclass
class Process:
    """One process: what it believes, and how its clock runs."""

    name: str
    rate: float
    offset: float
    state: Waiting | Leading
    is_frozen: bool = False
    asked_s: float | None = None
    """When it began a renewal that has not been answered yet."""


class Leases(RuleBasedStateMachine):
    """A lease, and processes that act in any order; `RATES` bounds how fast their clocks run."""

    RATES = (0.9, 1.1)
    NUM_PROCESSES = 3

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        self.time_s = 0.0
        self.lease: LeaseRecord | None = None
        self.fences: list[int] = []
        self.processes = [
            Process(
                name=str(number),
                rate=data.draw(st.floats(*self.RATES)),
                offset=data.draw(st.floats(-3600, 3600)),
                state=Waiting(),
            )
            for number in range(self.NUM_PROCESSES)
        ]

    def clock(self, process: Process) -> float:
        return process.offset + self.time_s * process.rate

    def believes(self, process: Process) -> bool:
        return isinstance(process.state, Leading) and process.state.holds(self.clock(process))

    @rule(seconds=st.floats(0.01, 8.0))
    def wait(self, seconds: float) -> None:
        self.time_s += seconds

    @rule(number=st.integers(0, NUM_PROCESSES - 1))
    def wait_until_free(self, number: int) -> None:
        process = self.processes[number]
        if isinstance(process.state, Waiting) and process.state.since_s is not None:
            due_s = process.state.since_s + DURATION_S
            self.time_s += max((due_s - self.clock(process)) / process.rate, 0.0) + 1e-3

    @rule(number=st.integers(0, NUM_PROCESSES - 1))
    def freeze_or_thaw(self, number: int) -> None:
        self.processes[number].is_frozen = not self.processes[number].is_frozen

    @rule(number=st.integers(0, NUM_PROCESSES - 1))
    def look(self, number: int) -> None:
        process = self.processes[number]
        if not process.is_frozen and isinstance(process.state, Waiting):
            process.state = process.state.look(self.lease, self.clock(process))

    @rule(number=st.integers(0, NUM_PROCESSES - 1))
    def take(self, number: int) -> None:
        process = self.processes[number]
        if process.is_frozen or not isinstance(process.state, Waiting):
            return
        if process.state.is_free(self.clock(process)) and process.state.seen == self.lease:
            before = self.lease
            self.lease = LeaseRecord(
                holder=process.name,
                url="",
                duration_s=DURATION_S,
                fence=1 if before is None else before.fence + 1,
                renewals=1 if before is None else before.renewals + 1,
                released=False,
            )
            self.fences.append(self.lease.fence)
            process.state = Leading(
                fence=self.lease.fence, duration_s=DURATION_S, renewed_s=self.clock(process)
            )

    @rule(number=st.integers(0, NUM_PROCESSES - 1))
    def ask_to_renew(self, number: int) -> None:
        process = self.processes[number]
        if not process.is_frozen and isinstance(process.state, Leading):
            process.asked_s = self.clock(process)

    @rule(number=st.integers(0, NUM_PROCESSES - 1))
    def renew(self, number: int) -> None:
        process = self.processes[number]
        if process.is_frozen or process.asked_s is None:
            return
        assert self.lease is not None
        assert isinstance(process.state, Leading)
        if self.lease.fence == process.state.fence:
            self.lease = replace(self.lease, renewals=self.lease.renewals + 1)
            process.state = process.state.renew(process.asked_s)
        else:
            process.state = Waiting()
        process.asked_s = None

    @rule(number=st.integers(0, NUM_PROCESSES - 1))
    def release(self, number: int) -> None:
        process = self.processes[number]
        if not process.is_frozen and isinstance(process.state, Leading):
            if self.lease is not None and self.lease.fence == process.state.fence:
                self.lease = replace(self.lease, released=True)
            process.state, process.asked_s = Waiting(), None

    @rule()
    def somebody_leads_soon(self) -> None:
        """Let whoever is not frozen act for twice the duration, by the slowest clock."""
        awake = [process for process in self.processes if not process.is_frozen]
        for _ in range(int(2 * DURATION_S / self.RATES[0]) + 2):
            self.time_s += 1.0
            for process in awake:
                number = self.processes.index(process)
                self.look(number)
                self.take(number)
                self.ask_to_renew(number)
                self.renew(number)
        assert sum(map(self.believes, awake)) == (1 if awake else 0)

    @invariant()
    def never_two_believe_that_they_lead(self) -> None:
        assert sum(map(self.believes, getattr(self, "processes", ()))) <= 1

    @invariant()
    def no_two_have_the_same_fence(self) -> None:
        fences = getattr(self, "fences", [])
        assert fences == sorted(set(fences))


class WildClocks(Leases):
    """Clocks at any rate: two may believe that they lead, and the fence lets one of them write."""

    RATES = (0.2, 5.0)

    @rule()
    def somebody_leads_soon(self) -> None:
        """Nothing is said of how soon by such clocks."""

    @invariant()
    def never_two_believe_that_they_lead(self) -> None:
        may_write = [
            process
            for process in getattr(self, "processes", ())
            if isinstance(process.state, Leading)
            and self.lease is not None
            and process.state.fence == self.lease.fence
        ]
        assert len(may_write) <= 1


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestWildClocks = WildClocks.TestCase
TestWildClocks.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)


def test_without_its_margin_two_believe_that_they_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.reconciling.lease.RELIED_ON", 1.0)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Leases,
            settings=settings(
                # It ends with the first that it finds.
                max_examples=5_000,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                database=None,
                phases=(Phase.generate,),
                print_blob=False,
            ),
        )
