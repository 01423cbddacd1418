"""What rank 0 makes of what the other replicas tell, and of their silence."""

from contextlib import suppress

import pytest

from tests.unit.trainer.attempt.watched_attempt import Clock, Store, hear_and_look, look_for, step
from tests.waiting import wait_for
from trainer.attempt import watchdog as module
from trainer.attempt.pulse import Pulse
from trainer.attempt.watchdog import ITS_END, LONG_S, SIGN_EVERY_S, Watchdog


def test_rank_0_bears_that_another_replica_waits_for_data(clock: Clock) -> None:
    watchdog, other = Watchdog(factor=10, floor_s=60), Watchdog()
    step(watchdog, clock, 1, 1)
    found: list[str | None] = []

    def wait() -> None:
        # It told something new: that it has got so far.
        watchdog.hear({1: other.pulse()})
        watchdog.look(1.0)
        found.append(hear_and_look(watchdog, LONG_S - 1, other.pulse))
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
    step(watchdog, clock, 1, 1)
    pulses: list[Pulse] = []
    next(other.fed(Store(lambda: pulses.append(other.pulse()))))
    watchdog.hear({1: pulses[-1]})
    watchdog.look(1.0)
    found = hear_and_look(watchdog, 100, lambda: pulses[-1] if frozen else other.pulse())
    assert "no step was done" in str(found)


def test_while_another_replica_gets_on_nothing_hangs(clock: Clock) -> None:
    watchdog, other = Watchdog(factor=10, floor_s=1), Watchdog()
    step(watchdog, clock, 1, 1)
    with watchdog.within("an evaluation"):
        # Rank 0 has its share done long before.
        for _ in range(3):
            other.stand("its next batch")
            assert hear_and_look(watchdog, LONG_S - 1, other.pulse) is None
        assert "an evaluation" in str(hear_and_look(watchdog, 10, other.pulse))


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
        step(watchdog, clock, 1)
        assert watchdog.look(1.0) is None


def test_at_the_end_each_replica_goes_when_it_is_done(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60, num_replicas=2)
    step(watchdog, clock, 1, 1)
    watchdog.stand(ITS_END)
    watchdog.look(1.0)
    assert look_for(watchdog, LONG_S - 1) is None


@pytest.mark.parametrize("is_done", [True, False])
def test_rank_0_may_write_a_checkpoint_when_the_others_have_paused(
    clock: Clock, *, is_done: bool
) -> None:
    watchdog = Watchdog(factor=10, floor_s=60, num_replicas=2)
    step(watchdog, clock, 1, 1)
    with watchdog.within("a checkpoint"):
        watchdog.hear({1: Pulse(beat=7, is_done=is_done)})
        watchdog.look(1.0)
        found = look_for(watchdog, LONG_S - 1)
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
    assert look_for(watchdog, LONG_S) is None


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
    step(watchdog, clock, 0.1, 0.1)
    watchdog.look(1.0)
    assert _waiting(other, watchdog, 100, every_s=10) is None


def test_one_whose_pulses_come_slowly_waits_between_them_too(clock: Clock) -> None:
    watchdog, other = Watchdog(factor=10, floor_s=60), Watchdog()
    step(watchdog, clock, 1, 1)
    watchdog.hear({1: other.pulse()})
    watchdog.look(1.0)
    assert _waiting(other, watchdog, 1000, every_s=20) is None
    # It waits no more, and does nothing else.
    assert "no step was done" in str(look_for(watchdog, 2 * 60 + SIGN_EVERY_S))
