import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.errors import ShardError
from data_shards.storage.retries import DEFAULT_POLICY
from tests.waiting import wait_for
from trainer.attempt import watchdog as module
from trainer.attempt.pulse import Pulse
from trainer.attempt.watchdog import ITS_END, LONG_S, SIGN_EVERY_S, START_S, Watchdog


class Clock:
    """Set by hand; stands for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def _step(watchdog: Watchdog, clock: Clock, *steps_s: float) -> None:
    for step_s in steps_s:
        clock.now_s += step_s
        watchdog.note_step()


def _look_for(watchdog: Watchdog, seconds: float) -> str | None:
    """Look every second for so long; return the first finding."""
    return next((found for _ in range(int(seconds)) if (found := watchdog.look(1.0))), None)


def test_many_times_the_median_step_are_a_hang(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=1)
    _step(watchdog, clock, 50, 2, 2, 2, 9)
    watchdog.look(1.0)
    assert _look_for(watchdog, 19) is None
    assert (
        watchdog.look(1.0) == "no step was done for 20 s, where one takes 2 s (retry.hang_factor)"
    )


def test_steps_keep_it_calm_and_nothing_below_the_floor_is_a_hang(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    for _ in range(3):
        _step(watchdog, clock, 0.1, 0.1)
        watchdog.look(1.0)
        assert _look_for(watchdog, 59) is None
    assert "60 s" in str(watchdog.look(1.0))


def test_what_is_no_step_may_take_long_but_not_for_ever(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=1)
    # The start: the first step may compile.
    watchdog.look(1.0)
    assert _look_for(watchdog, 100) is None
    _step(watchdog, clock, 1, 1, 1)
    for phase in ("an evaluation", "a checkpoint"):
        with watchdog.within(phase):
            watchdog.look(1.0)
            assert _look_for(watchdog, LONG_S - 1) is None
            assert phase in str(watchdog.look(1.0))
        watchdog.look(1.0)
        # Its time was no step's.
        clock.now_s += 1000
        assert _look_for(watchdog, 9) is None
        assert _look_for(watchdog, 2) is not None
        watchdog.note_step()
    watchdog.stand(ITS_END)
    watchdog.look(1.0)
    assert _look_for(watchdog, 100) is None


def test_a_long_evaluation_gets_on_with_each_batch(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=1)
    _step(watchdog, clock, 1, 1)
    with watchdog.within("an evaluation"):
        for batch in watchdog.fed(range(3)):
            watchdog.look(1.0)
            assert _look_for(watchdog, LONG_S - 1) is None, batch


class Store:
    """Batches from a store that is slow: `while_waiting` is called for each."""

    def __init__(self, while_waiting: Callable[[], None]) -> None:
        self._while_waiting = while_waiting

    def __iter__(self) -> Iterator[int]:
        while True:
            self._while_waiting()
            yield 0


def test_a_wait_for_data_is_no_hang_of_a_step_and_ends_all_the_same(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    _step(watchdog, clock, 1, 1)
    found: list[str | None] = []

    def wait() -> None:
        watchdog.look(1.0)
        found.append(_look_for(watchdog, LONG_S - 1))
        if len(found) == 3:
            found.append(watchdog.look(1.0))

    # Each batch has a patience of its own.
    for _ in zip(range(3), watchdog.fed(Store(wait)), strict=False):
        pass
    assert found[:3] == [None] * 3
    assert found[3] == "nothing moves since 1,800 s within a wait for data (retry.hang_floor_s)"
    # What comes after it is a step again.
    watchdog.look(1.0)
    assert _look_for(watchdog, 59) is None
    assert "no step was done" in str(watchdog.look(1.0))


def test_a_wait_is_over_when_the_data_fail(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    _step(watchdog, clock, 1, 1)

    def fail() -> None:
        assert watchdog.pulse().waits_for_data
        raise ShardError("a.tar", "is missing")

    with pytest.raises(ShardError):
        next(watchdog.fed(Store(fail)))
    assert not watchdog.pulse().waits_for_data


def _hear_and_look(watchdog: Watchdog, seconds: float, tell: Callable[[], Pulse]) -> str | None:
    """Hear replica 1 every few seconds, and look every second, for so long."""
    for second in range(int(seconds)):
        if second % SIGN_EVERY_S == 0:
            watchdog.hear({1: tell()})
        if found := watchdog.look(1.0):
            return found
    return None


def test_rank_0_bears_that_another_replica_waits_for_data(clock: Clock) -> None:
    watchdog, other = Watchdog(factor=10, floor_s=60), Watchdog()
    _step(watchdog, clock, 1, 1)
    found: list[str | None] = []

    def wait() -> None:
        # It told something new: that it has got so far.
        watchdog.hear({1: other.pulse()})
        watchdog.look(1.0)
        found.append(_hear_and_look(watchdog, LONG_S - 1, other.pulse))
        found.append(watchdog.look(1.0))

    next(other.fed(Store(wait)))
    assert found == [
        None,
        "nothing moves since 1,800 s within a wait for data (retry.hang_floor_s)",
    ]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_replica_that_waits_no_more_or_tells_no_more_is_waited_for_as_for_a_step(
    clock: Clock, frozen: bool
) -> None:
    watchdog, other = Watchdog(factor=10, floor_s=60), Watchdog()
    _step(watchdog, clock, 1, 1)
    pulses: list[Pulse] = []
    next(other.fed(Store(lambda: pulses.append(other.pulse()))))
    watchdog.hear({1: pulses[-1]})
    watchdog.look(1.0)
    found = _hear_and_look(watchdog, 100, lambda: pulses[-1] if frozen else other.pulse())
    assert "no step was done" in str(found)


def test_while_another_replica_gets_on_nothing_hangs(clock: Clock) -> None:
    watchdog, other = Watchdog(factor=10, floor_s=1), Watchdog()
    _step(watchdog, clock, 1, 1)
    with watchdog.within("an evaluation"):
        # Rank 0 has its share done long before.
        for _ in range(3):
            other.stand("its next batch")
            assert _hear_and_look(watchdog, LONG_S - 1, other.pulse) is None
        assert "an evaluation" in str(_hear_and_look(watchdog, 10, other.pulse))


STAGES = ("the opening of its data", "the loading of its weights", "its first step")


def test_each_stage_before_the_first_step_has_a_bound_and_is_named(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    watchdog.look(1.0)
    for stage in STAGES:
        watchdog.begin(stage)
        watchdog.look(1.0)
        assert _look_for(watchdog, START_S - 1) is None
    assert watchdog.look(1.0) == (
        "nothing moves since 900 s within its first step (retry.hang_floor_s)"
    )
    # Nor is a wait for the first batch such a stage.
    watchdog.begin("its first step")
    assert _wait_for_shards(watchdog, Loaders(200), None, LONG_S - 1) is None
    # What was a stage is none after the first step.
    _step(watchdog, clock, 1)
    watchdog.look(1.0)
    assert _look_for(watchdog, LONG_S - 1) is None


@pytest.mark.parametrize(("floor_s", "borne_s"), [(60, 120), (8, 60), (300, 600)])
@pytest.mark.parametrize("has_told", [False, True])
def test_a_replica_that_is_frozen_before_the_first_step_is_found_by_its_silence(
    floor_s: float, borne_s: float, *, has_told: bool
) -> None:
    watchdog = Watchdog(factor=10, floor_s=floor_s, num_replicas=3)
    other = Watchdog()
    pulses = {1: other.pulse()} if has_told else {}
    watchdog.begin("the loading of its weights")
    watchdog.hear(pulses)
    watchdog.look(1.0)
    found = []
    for _ in range(int(borne_s) + 1):
        watchdog.hear(pulses | {2: other.pulse()})
        found.append(watchdog.look(1.0))
    assert found[: int(borne_s) - 1] == [None] * (int(borne_s) - 1)
    assert "replica 1 gave no sign of life for" in str(found[-1])
    assert "within the loading of its weights" in str(found[-1])
    assert str(found[-1]).endswith("(retry.hang_floor_s)")


def test_who_gets_on_is_asked_for_no_sign_of_others(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60, num_replicas=2)
    for _ in range(1000):
        # Its disk takes no pulses, say.
        _step(watchdog, clock, 1)
        assert watchdog.look(1.0) is None


def test_at_the_end_each_replica_goes_when_it_is_done(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60, num_replicas=2)
    _step(watchdog, clock, 1, 1)
    watchdog.stand(ITS_END)
    watchdog.look(1.0)
    assert _look_for(watchdog, LONG_S - 1) is None


@pytest.mark.parametrize("is_done", [True, False])
def test_rank_0_may_write_a_checkpoint_when_the_others_have_paused(
    clock: Clock, *, is_done: bool
) -> None:
    watchdog = Watchdog(factor=10, floor_s=60, num_replicas=2)
    _step(watchdog, clock, 1, 1)
    with watchdog.within("a checkpoint"):
        watchdog.hear({1: Pulse(beat=7, is_done=is_done)})
        watchdog.look(1.0)
        found = _look_for(watchdog, LONG_S - 1)
    assert (found is None) == is_done


@pytest.mark.parametrize("fails", [False, True])
def test_a_replica_tells_last_that_it_is_done_unless_it_failed(
    monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.001)
    signs: list[Pulse] = []
    with suppress(ValueError), Watchdog(on_sign=signs.append):
        wait_for("a sign", lambda: signs, timeout_s=30)
        if fails:
            raise ValueError
    assert [pulse.is_done for pulse in signs[:-1]] == [False] * (len(signs) - 1)
    assert signs[-1].is_done == (not fails)


def test_without_a_factor_nobody_is_taken_for_frozen() -> None:
    watchdog = Watchdog(factor=None, num_replicas=2)
    assert _look_for(watchdog, LONG_S) is None


def test_time_in_which_this_process_was_itself_frozen_does_not_count(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    _step(watchdog, clock, 1, 1)
    watchdog.look(1.0)
    assert watchdog.look(1e6) is None


def test_nobody_looks_for_hangs_without_a_factor(clock: Clock) -> None:
    watchdog, strict = Watchdog(factor=None, floor_s=1), Watchdog(factor=2, floor_s=1)
    for one in (watchdog, strict):
        _step(one, clock, 1, 1, 1)
    assert _look_for(watchdog, 2 * LONG_S) is None
    assert _look_for(strict, 2 * LONG_S) is not None


def _waiting(other: Watchdog, watchdog: Watchdog, seconds: int, every_s: int) -> str | None:
    """Return what rank 0 finds while another replica waits for data and tells so every so often."""
    found: list[str | None] = []

    def wait() -> None:
        for second in range(seconds):
            if second % every_s == every_s - 1:
                watchdog.hear({1: other.pulse()})
            found.append(watchdog.look(1.0))

    next(other.fed(Store(wait)))
    return next(filter(None, found), None)


def test_no_limit_is_shorter_than_a_pulse_takes_to_come(clock: Clock) -> None:
    watchdog, other = Watchdog(factor=2, floor_s=1), Watchdog()
    watchdog.hear({1: other.pulse()})
    _step(watchdog, clock, 0.1, 0.1)
    watchdog.look(1.0)
    assert _waiting(other, watchdog, 100, every_s=10) is None


def test_one_whose_pulses_come_slowly_waits_between_them_too(clock: Clock) -> None:
    watchdog, other = Watchdog(factor=10, floor_s=60), Watchdog()
    _step(watchdog, clock, 1, 1)
    watchdog.hear({1: other.pulse()})
    watchdog.look(1.0)
    assert _waiting(other, watchdog, 1000, every_s=20) is None
    # It waits no more, and does nothing else.
    assert "no step was done" in str(_look_for(watchdog, 2 * 60 + SIGN_EVERY_S))


class Loaders:
    """What loaders tell, by hand."""

    def __init__(self, patience_s: float) -> None:
        self.arrivals = 0
        self.patience_s = patience_s


def _wait_for_shards(
    watchdog: Watchdog, loaders: Loaders, arrive_every_s: float | None, seconds: float
) -> str | None:
    """Wait so long for one batch; return what is found meanwhile."""
    found: list[str | None] = []

    def wait() -> None:
        watchdog.look(1.0)
        for second in range(int(seconds)):
            if arrive_every_s is not None and second % arrive_every_s == 0:
                loaders.arrivals = (loaders.arrivals + 1) % 256
            found.append(watchdog.look(1.0))

    next(watchdog.fed(Store(wait), loaders))
    return next(filter(None, found), None)


@given(size=st.integers(1, 1 << 40))
def test_nothing_that_loaders_bear_of_a_shard_is_a_hang(size: int) -> None:
    patience_s = DEFAULT_POLICY.borne_s(size)
    watchdog = Watchdog(factor=10, floor_s=60)
    for _ in range(2):
        watchdog.note_step()
    bound_s = max(LONG_S, patience_s)

    def wait() -> None:
        watchdog.look(1.0)
        # Nothing counts for more than two polls, so that a patience of days is not looked through.
        watchdog._still_s = bound_s - 2.0
        assert watchdog.look(1.0) is None
        assert "within a wait for data" in str(watchdog.look(1.0))

    next(watchdog.fed(Store(wait), Loaders(patience_s)))


def test_a_large_shard_is_waited_for_as_long_as_loaders_do(clock: Clock) -> None:
    assert DEFAULT_POLICY.borne_s(450_000_000) == pytest.approx(1867, abs=1)
    assert DEFAULT_POLICY.borne_s(1_000_000_000) == pytest.approx(3965, abs=1)
    for loaders, borne_s in ((Loaders(3965), 3965), (Loaders(200), LONG_S)):
        watchdog = Watchdog(factor=10, floor_s=60)
        _step(watchdog, clock, 1, 1)
        assert _wait_for_shards(watchdog, loaders, None, borne_s - 1) is None
        assert "a wait for data" in str(_wait_for_shards(watchdog, loaders, None, borne_s + 1))
        # What is no wait for data is given no longer.
        with watchdog.within("a checkpoint"):
            watchdog.look(1.0)
            assert "a checkpoint" in str(_look_for(watchdog, LONG_S))


def test_a_batch_of_many_shards_is_no_hang_as_long_as_some_of_them_arrives(clock: Clock) -> None:
    watchdog, loaders = Watchdog(factor=10, floor_s=60), Loaders(200)
    _step(watchdog, clock, 1, 1)
    assert _wait_for_shards(watchdog, loaders, LONG_S - 1, 5 * LONG_S) is None
    assert _wait_for_shards(watchdog, loaders, None, LONG_S) is not None


def test_rank_0_hears_of_what_arrives_at_another_replica(clock: Clock) -> None:
    watchdog, other, loaders = Watchdog(factor=10, floor_s=60), Watchdog(), Loaders(200)
    _step(watchdog, clock, 1, 1)

    def tell() -> Pulse:
        loaders.arrivals += 1
        return other.pulse()

    found: list[str | None] = []
    wait = Store(lambda: found.append(_hear_and_look(watchdog, 2 * LONG_S, tell)))
    next(other.fed(wait, loaders))
    assert found == [None]


def test_what_loaders_fetch_ahead_keeps_no_step_calm(clock: Clock) -> None:
    watchdog, loaders = Watchdog(factor=10, floor_s=60), Loaders(200)
    _step(watchdog, clock, 1, 1)
    for _ in zip(range(1), watchdog.fed(Store(lambda: None), loaders), strict=False):
        watchdog.look(1.0)
        found = []
        for _ in range(61):
            loaders.arrivals += 1
            found.append(watchdog.look(1.0))
        assert "no step was done" in str(found[-1] or found[-2])


def test_it_gives_signs_of_life_until_it_finds_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.001)
    monkeypatch.setattr(module, "SIGN_EVERY_S", 0.0)
    hung, signed = threading.Event(), threading.Event()
    found: list[str] = []
    signs: list[Pulse] = []
    asked = threading.Event()

    def sign(pulse: Pulse) -> None:
        signs.append(pulse)
        signed.set()

    def read_others() -> dict[int, Pulse]:
        asked.set()
        return {}

    def note(hang: str) -> None:
        found.append(hang)
        hung.set()

    with Watchdog(
        factor=2, floor_s=0.05, on_hang=note, on_sign=sign, read_others=read_others
    ) as watchdog:
        watchdog.note_step()
        watchdog.note_step()
        assert signed.wait(30)
        assert asked.wait(30)
        assert hung.wait(30)
    assert len(found) == 1
    assert [pulse.beat for pulse in signs] == list(range(1, len(signs) + 1))
