"""A wait for data is no hang of a step, as long as loaders bear it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.errors import ShardError
from data_shards.storage.retries import DEFAULT_POLICY
from tests.unit.trainer.attempt.watched_attempt import (
    Clock,
    Loaders,
    Store,
    hear_and_look,
    look_for,
    step,
    wait_for_shards,
)
from trainer.attempt.pulse import Pulse
from trainer.attempt.watchdog import LONG_S, Watchdog


def test_a_wait_for_data_is_no_hang_of_a_step_and_ends_all_the_same(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    step(watchdog, clock, 1, 1)
    found: list[str | None] = []

    def wait() -> None:
        watchdog.look(1.0)
        found.append(look_for(watchdog, LONG_S - 1))
        if len(found) == 3:
            found.append(watchdog.look(1.0))

    # Each batch has a patience of its own.
    for _ in zip(range(3), watchdog.fed(Store(wait)), strict=False):
        pass
    assert found[:3] == [None] * 3
    assert found[3] == "nothing moves since 1,800 s within a wait for data (retry.hang_floor_s)"
    # What comes after it is a step again.
    watchdog.look(1.0)
    assert look_for(watchdog, 59) is None
    assert "no step was done" in str(watchdog.look(1.0))


def test_a_wait_is_over_when_the_data_fail(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    step(watchdog, clock, 1, 1)

    def fail() -> None:
        assert watchdog.pulse().waits_for_data
        raise ShardError("a.tar", "is missing")

    with pytest.raises(ShardError):
        next(watchdog.fed(Store(fail)))
    assert not watchdog.pulse().waits_for_data


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
        step(watchdog, clock, 1, 1)
        assert wait_for_shards(watchdog, loaders, None, borne_s - 1) is None
        assert "a wait for data" in str(wait_for_shards(watchdog, loaders, None, borne_s + 1))
        # What is no wait for data is given no longer.
        with watchdog.within("a checkpoint"):
            watchdog.look(1.0)
            assert "a checkpoint" in str(look_for(watchdog, LONG_S))


def test_a_batch_of_many_shards_is_no_hang_as_long_as_some_of_them_arrives(clock: Clock) -> None:
    watchdog, loaders = Watchdog(factor=10, floor_s=60), Loaders(200)
    step(watchdog, clock, 1, 1)
    assert wait_for_shards(watchdog, loaders, LONG_S - 1, 5 * LONG_S) is None
    assert wait_for_shards(watchdog, loaders, None, LONG_S) is not None


def test_rank_0_hears_of_what_arrives_at_another_replica(clock: Clock) -> None:
    watchdog, other, loaders = Watchdog(factor=10, floor_s=60), Watchdog(), Loaders(200)
    step(watchdog, clock, 1, 1)

    def tell() -> Pulse:
        loaders.arrivals += 1
        return other.pulse()

    found: list[str | None] = []
    wait = Store(lambda: found.append(hear_and_look(watchdog, 2 * LONG_S, tell)))
    next(other.fed(wait, loaders))
    assert found == [None]


def test_what_loaders_fetch_ahead_keeps_no_step_calm(clock: Clock) -> None:
    watchdog, loaders = Watchdog(factor=10, floor_s=60), Loaders(200)
    step(watchdog, clock, 1, 1)
    for _ in zip(range(1), watchdog.fed(Store(lambda: None), loaders), strict=False):
        watchdog.look(1.0)
        found = []
        for _ in range(61):
            loaders.arrivals += 1
            found.append(watchdog.look(1.0))
        assert "no step was done" in str(found[-1] or found[-2])
