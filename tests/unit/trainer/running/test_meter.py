import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.attempt.stopwatch import Stopwatch
from trainer.contract.events import MAX_REPLICAS_TOLD, Phase
from trainer.running.meter import Means, Meter, overall, rates_to_tell


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_means_since_the_last_reading() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    meter = Meter(stopwatch, clock)
    meter.add(loss_sum=20.0, num_images=10, wait_s=0.5)
    meter.add(loss_sum=16.0, num_images=8, wait_s=0.5)
    with stopwatch.within("compute"):
        clock.now += 3
    clock.now += 1
    assert meter.elapsed_s == 4
    assert meter.read() == Means(
        loss=2.0,
        images_per_second=4.5,
        data_wait_ratio=0.25,
        phase_seconds={"compute": 1.5, "other": 0.5},
        num_steps=2,
        num_images=18,
        seconds=4.0,
    )
    assert meter.read() is None
    meter.add(loss_sum=3.0, num_images=3, wait_s=0.0)
    clock.now += 1
    assert meter.read() == Means(
        loss=1.0,
        images_per_second=3.0,
        data_wait_ratio=0.0,
        phase_seconds={"other": 1.0},
        num_steps=1,
        num_images=3,
        seconds=1.0,
    )
    assert meter.mean_images_per_second == pytest.approx(21 / 5)


def test_a_step_lasts_from_the_one_before_whatever_is_read_between() -> None:
    clock = Clock()
    meter = Meter(Stopwatch(clock), clock)

    def step(after_s: float) -> float:
        clock.now += after_s
        return meter.add(loss_sum=1.0, num_images=1, wait_s=0.0)

    assert step(2) == 2
    assert step(3) == 3
    clock.now += 1
    means = meter.read()
    assert means is not None
    assert means.total_phase_seconds == {"other": pytest.approx(6)}
    assert step(4) == 5
    # An evaluation is left out.
    clock.now += 50
    meter.restart()
    assert step(1) == 1


def test_what_lies_before_a_restart_counts_for_nothing_but_in_its_phase() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    meter = Meter(stopwatch, clock)
    with stopwatch.within("evaluation"):
        clock.now += 50
    meter.restart()
    meter.add(loss_sum=4.0, num_images=4, wait_s=0.0)
    clock.now += 2
    means = meter.read()
    assert means is not None
    assert means.images_per_second == 2.0
    assert means.phase_seconds["evaluation"] == 50


@given(
    st.lists(
        st.tuples(st.integers(0, 64), st.floats(0.5, 5), st.sampled_from(("compute", "data_wait"))),
        min_size=1,
        max_size=20,
    ),
    st.sets(st.integers(0, 19)),
)
def test_readings_together_are_the_reading_that_was_not_made(
    steps: list[tuple[int, float, Phase]], read_after: set[int]
) -> None:
    def readings(after: set[int]) -> list[Means]:
        clock = Clock()
        stopwatch = Stopwatch(clock)
        meter = Meter(stopwatch, clock)
        found = []
        for number, (num_images, seconds, phase) in enumerate(steps, start=1):
            with stopwatch.within(phase):
                clock.now += seconds
            meter.add(loss_sum=2.0 * num_images, num_images=num_images, wait_s=seconds / 2)
            if number in after or number == len(steps):
                found.append(meter.read())
        return [means for means in found if means is not None]

    (whole,) = readings(set())
    together = overall(readings(read_after))
    assert (together.num_steps, together.num_images) == (len(steps), whole.num_images)
    for field in ("loss", "images_per_second", "data_wait_ratio", "seconds"):
        assert getattr(together, field) == pytest.approx(getattr(whole, field))
    for phase, seconds in whole.phase_seconds.items():
        assert together.phase_seconds.get(phase, 0.0) == pytest.approx(seconds)


def test_nothing_divides_by_zero() -> None:
    clock = Clock()
    meter = Meter(Stopwatch(clock), clock)
    assert meter.mean_images_per_second == 0
    meter.add(loss_sum=0.0, num_images=0, wait_s=1.0)
    means = meter.read()
    assert means is not None
    assert (means.loss, means.images_per_second, means.data_wait_ratio) == (0.0, 0.0, 1.0)


def test_a_replicas_own_rate_leaves_out_what_it_waits_for_the_others() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    meter = Meter(stopwatch, clock)
    assert meter.own_images_per_second == 0
    with stopwatch.within("backward"):
        clock.now += 2
    with stopwatch.within("all_reduce"):
        clock.now += 6
    meter.add(loss_sum=1.0, num_images=40, wait_s=0.0, num_own_images=20)
    means = meter.read()
    assert means is not None
    assert (means.images_per_second, meter.own_images_per_second) == (5, 10)
    # What a device's marks make of a step may be all waiting.
    with stopwatch.within("all_reduce"):
        clock.now += 10
    meter.add(loss_sum=1.0, num_images=40, wait_s=0.0, num_own_images=20)
    meter.read()
    assert meter.own_images_per_second == pytest.approx(20 / 0.1)


def test_rates_are_told_by_rank_when_every_replica_has_one() -> None:
    assert rates_to_tell(()) == ()
    assert rates_to_tell((5.0,)) == ()
    assert rates_to_tell((5.0, 0.0)) == ()
    assert rates_to_tell((123.456, 7.0)) == (123.5, 7.0)


@given(st.lists(st.floats(1, 1e6), min_size=MAX_REPLICAS_TOLD + 1, max_size=1024))
def test_of_very_many_replicas_few_rates_are_told_with_the_extremes(rates: list[float]) -> None:
    told = rates_to_tell(rates)
    assert len(told) == MAX_REPLICAS_TOLD
    assert list(told) == sorted(told)
    assert told[0] == pytest.approx(min(rates), rel=1e-3)
    assert told[-1] == pytest.approx(max(rates), rel=1e-3)
