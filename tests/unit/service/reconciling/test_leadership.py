"""Leaders that freeze and thaw: each is a process of its own, with a clock of its own."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import Connection

from service.jobs.lifecycle import Decision
from service.jobs.records import JobRecord
from service.reconciling import leadership as module
from service.reconciling.leadership import Leadership
from service.steady_clock import PROCESS_CLOCK, SteadyClock
from service.store.leases import LeaseRecord, LostLeadershipError, read_lease, take_lease
from service.store.store import Store
from tests.unit.service.conftest import job_in, now, wait_until
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Status

LEASE_S = 5.0
Start = Callable[[str], "Process"]


class Process:
    """One control plane's part in it; its keeper renews only when it is told to."""

    def __init__(self, store_url: str, name: str) -> None:
        # Clocks of machines that were started at other times.
        self.now_s = float(len(name) * 1000)
        self.wall_s = 1_800_000_000.0
        self.told_by = SteadyClock(
            wall=lambda: self.wall_s, steady=lambda: self.now_s, boot=f"of {name}"
        )
        self.leadership = Leadership(
            store_url,
            url=f"http://{name}",
            lease_s=LEASE_S,
            clock=lambda: self.now_s,
            told_by=self.told_by,
        )
        self.store = Store(store_url, fence=self.leadership.fence)

    def run(self, seconds: float) -> None:
        self.now_s += seconds
        self.wall_s += seconds

    def told_s(self) -> float:
        return self.told_by.now().timestamp()

    def close(self) -> None:
        self.leadership.close()
        self.store.close()


@pytest.fixture
def start(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(Leadership, "_keep", lambda _: None)
    monkeypatch.setattr(module, "is_gone", lambda _: False)
    started: list[Process] = []

    def start(name: str) -> Process:
        started.append(Process(store_url, name))
        return started[-1]

    yield start
    for process in started:
        process.close()


def take_over(process: Process) -> None:
    assert not process.leadership.try_to_take()
    process.now_s += LEASE_S
    assert process.leadership.try_to_take()


def test_one_leads_and_the_next_at_once_when_it_has_gone(start: Start) -> None:
    first, second = start("a"), start("bb")
    assert first.leadership.try_to_take()
    assert not second.leadership.try_to_take()
    assert second.leadership.holder() == first.leadership.holder()
    with pytest.raises(LostLeadershipError, match="http://a"):
        second.leadership.fence()
    first.leadership.release()
    assert not first.leadership.is_held
    assert second.leadership.try_to_take()
    assert second.leadership.fence() == 2


def test_one_that_slept_knows_before_it_acts_and_is_refused_if_it_does_not(start: Start) -> None:
    first, second = start("a"), start("bb")
    assert first.leadership.try_to_take()
    take_over(second)
    first.now_s += LEASE_S
    assert not first.leadership.is_held
    # For as long as it has not asked, its writes are refused by the store.
    assert first.leadership.is_kept
    with pytest.raises(LostLeadershipError, match="http://bb"):
        first.store.check_fence()
    first.leadership._renew()
    assert not first.leadership.is_kept
    assert second.leadership.is_held


def test_one_that_could_not_renew_goes_on_if_nobody_took_over(start: Start) -> None:
    first, second = start("a"), start("bb")
    assert first.leadership.try_to_take()
    assert not second.leadership.try_to_take()
    first.now_s += 60
    assert not first.leadership.is_held
    first.leadership._renew()
    assert first.leadership.is_held
    assert first.leadership.fence() == 1
    second.now_s += 60
    assert not second.leadership.try_to_take()


def test_a_leader_of_this_machine_that_is_gone_is_not_waited_for(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = start("a"), start("bb")
    assert first.leadership.try_to_take()
    monkeypatch.setattr(module, "is_gone", lambda holder: holder == first.leadership._holder)
    assert second.leadership.try_to_take()


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0])
def test_of_the_next_leaders_clock_nothing_is_seen_at_a_takeover(
    start: Start, ahead_s: float
) -> None:
    first, second = start("a"), start("bb")
    second.wall_s += ahead_s
    assert first.leadership.try_to_take()
    assert not second.leadership.try_to_take()
    for process in (first, second):
        process.run(60.0)
    first.leadership._renew()
    renewed_s = first.told_s()
    assert not second.leadership.try_to_take()
    second.run(LEASE_S)
    assert second.leadership.try_to_take()
    assert second.told_s() == pytest.approx(renewed_s + LEASE_S, abs=1e-3)


@pytest.mark.parametrize("is_released", [True, False])
def test_of_a_jump_nothing_is_seen_at_a_restart(
    start: Start, monkeypatch: pytest.MonkeyPatch, is_released: bool
) -> None:
    first, anew = start("a"), start("a")
    assert first.leadership.try_to_take()
    for process in (first, anew):
        process.wall_s += 3600.0
        process.run(1.0)
    if is_released:
        first.leadership.release()
    else:
        monkeypatch.setattr(module, "is_gone", lambda _: True)
    anew.run(1.0)
    assert anew.leadership.try_to_take()
    assert anew.told_s() == pytest.approx(1_800_000_002.0, abs=0.5)


def frozen_leader_thaws(start: Start) -> tuple[JobRecord, Callable[[], None]]:
    """Return a job as the second leader has it, and what the first decided before it froze.

    The first saw that Ray does not have the attempt; the second has since given it to Ray.
    """
    first, second = start("a"), start("bb")
    assert first.leadership.try_to_take()
    seen = job_in(first.store, Status.STARTING, "job")
    take_over(second)
    second.store.note_submitted(seen.id, seen.attempt, now())
    lost = Outcome(outcome="failed", reason=Reason.LOST)
    decision = Decision(status=Status.RETRYING, ended=lost, reason=Reason.LOST)
    return second.store.job(seen.id), lambda: first.store.apply(seen, decision, now())


def test_a_thawed_leader_does_not_end_the_attempt_that_the_next_one_runs(
    start: Start, store_url: str
) -> None:
    job, thaw = frozen_leader_thaws(start)
    with pytest.raises(LostLeadershipError):
        thaw()
    with closing(Store(store_url)) as store:
        assert store.job(job.id) == job
        assert store.attempt(job.id, 1).ended_at is None


def test_without_the_fence_it_does(
    start: Start, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unchecked(_connection: Connection, _fence: int) -> None:
        return

    monkeypatch.setattr("service.store.leases.check_fence", unchecked)
    job, thaw = frozen_leader_thaws(start)
    thaw()
    with closing(Store(store_url)) as store:
        # The attempt runs in Ray, and another is about to.
        assert store.job(job.id).status is Status.RETRYING
        assert store.attempt(job.id, 1).submitted_at is not None


def test_its_keeper_renews_until_it_is_released_and_notices_who_took_it_over(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "is_gone", lambda holder: holder.startswith("gone"))
    keeping = Leadership(store_url, url="http://a", lease_s=0.5)
    assert keeping.try_to_take()
    with closing(Store(store_url)) as store:

        def lease() -> LeaseRecord:
            record = store.read(read_lease)
            assert record is not None
            return record

        before = lease().renewals
        wait_until(lambda: lease().renewals > before + 2)
        assert keeping.is_held
        seen = lease()
        # As of a moment; a renewal may come between.
        wait_until(
            lambda: store.write(
                lambda connection: take_lease(
                    connection,
                    lease(),
                    holder="b",
                    url="http://b",
                    duration_s=5.0,
                    clock=PROCESS_CLOCK.read(),
                )
            )
        )
        assert lease().fence == seen.fence + 1
        wait_until(lambda: not keeping.is_kept)
    keeping.close()


def test_what_fails_as_the_lease_is_lost_keeps_nobody_leading(
    store_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError("the lock's disk is away")

    monkeypatch.setattr(module, "is_gone", lambda _: True)
    first = Leadership(store_url, url="http://a", lease_s=0.5, on_lost=fail)
    other = Leadership(store_url, url="http://b", lease_s=5.0)
    with closing(first), closing(other):
        assert first.try_to_take()
        # A renewal may come between its look and its taking.
        wait_until(other.try_to_take)
        wait_until(lambda: not first.is_kept)
        assert first.holder() == other.holder()
    assert "the lock's disk is away" in caplog.text


def test_one_that_cannot_do_its_work_lets_another_lead_until_it_can(
    store_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "is_gone", lambda _: False)
    why: str | None = "a disk hangs"
    kept_when_told: list[bool] = []
    hindered = Leadership(
        store_url,
        url="http://a",
        lease_s=0.5,
        hindrance=lambda: why,
        on_lost=lambda: kept_when_told.append(hindered.is_kept),
    )
    with (
        closing(hindered),
        closing(Leadership(store_url, url="http://b", lease_s=5.0)) as other,
    ):
        assert hindered.try_to_take()
        wait_until(lambda: not hindered.is_held)
        # It has the lease as long as nobody takes it, and goes on if it can.
        why = None
        wait_until(lambda: hindered.is_held)
        assert not kept_when_told
        why = "a disk hangs"
        wait_until(other.try_to_take)
        assert not hindered.is_held
        # It is told so all the same: what is the leader's alone is not its to end any more.
        wait_until(lambda: not hindered.is_kept)
        # Before it might lead anew.
        assert kept_when_told == [True]
        assert hindered.holder() == other.holder()
        assert other.is_held
    assert caplog.text.count("the lease is left to others: a disk hangs") == 2
