import pytest

from trainer.attempt.stopwatch import Stopwatch
from trainer.running.meter import Means, Meter


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
    )
    assert meter.read() is None
    meter.add(loss_sum=3.0, num_images=3, wait_s=0.0)
    clock.now += 1
    assert meter.read() == Means(
        loss=1.0, images_per_second=3.0, data_wait_ratio=0.0, phase_seconds={"other": 1.0}
    )
    assert meter.mean_images_per_second == pytest.approx(21 / 5)


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


def test_nothing_divides_by_zero() -> None:
    clock = Clock()
    meter = Meter(Stopwatch(clock), clock)
    assert meter.mean_images_per_second == 0
    meter.add(loss_sum=0.0, num_images=0, wait_s=1.0)
    means = meter.read()
    assert means is not None
    assert (means.loss, means.images_per_second, means.data_wait_ratio) == (0.0, 0.0, 1.0)
