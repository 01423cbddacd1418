"""Means between progress events: loss, images a second, and where the time went."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from data_shards.feeding.reader import Batch
from trainer.attempt.stopwatch import Stopwatch
from trainer.contract.events import MAX_REPLICAS_TOLD, Phase

# Assumed: of a replica that seems to do nothing but wait, a device's marks say too much.
_LEAST_OWN_SHARE = 0.01


@dataclass(frozen=True)
class Means:
    """Of the steps since the last reading."""

    loss: float
    images_per_second: float
    data_wait_ratio: float
    phase_seconds: Mapping[Phase, float]
    """Of a step; evaluation, which the other figures leave out, among them."""
    num_steps: int
    num_images: float
    seconds: float

    @property
    def total_phase_seconds(self) -> Mapping[Phase, float]:
        """Of all steps."""
        return {phase: seconds * self.num_steps for phase, seconds in self.phase_seconds.items()}


class Meter:
    """Adds up steps between readings."""

    def __init__(self, stopwatch: Stopwatch, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure from now on. The stopwatch is read with the meter, and by nobody else."""
        self._stopwatch = stopwatch
        self._clock = clock
        self._total_images = self._total_s = 0.0
        self.own_images_per_second = 0.0
        """This replica's as last read, by the time in which it did not wait for the others."""
        self.restart()

    def restart(self) -> None:
        """Begin anew, leaving out what lies between: evaluation is not training."""
        self._begin()
        self._step_since = self._since

    def _begin(self) -> None:
        self._num_steps = self._num_own_images = 0
        self._loss_sum = self._num_images = self._wait_s = 0.0
        self._since = self._clock()

    def add(
        self, *, loss_sum: float, num_images: float, wait_s: float, num_own_images: int = 0
    ) -> float:
        """Add a step: its summed loss, its images over all replicas, and its wait for data.

        `num_own_images` are those of this replica. Returns the seconds since the step before it,
        or since this began anew.
        """
        before, self._step_since = self._step_since, self._clock()
        self._num_steps += 1
        self._loss_sum += loss_sum
        self._num_images += num_images
        self._num_own_images += num_own_images
        self._wait_s += wait_s
        return self._step_since - before

    @property
    def mean_images_per_second(self) -> float:
        """Over all readings; 0 before the first."""
        return self._total_images / self._total_s if self._total_s else 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the last reading."""
        return self._clock() - self._since

    def read(self) -> Means | None:
        """Return the means since the last reading, and begin anew; None without a step."""
        if not self._num_steps:
            return None
        elapsed_s = max(self.elapsed_s, 1e-9)
        phase_seconds = self._stopwatch.read()
        own_s = elapsed_s - phase_seconds.get("all_reduce", 0.0)
        self.own_images_per_second = self._num_own_images / max(own_s, elapsed_s * _LEAST_OWN_SHARE)
        means = Means(
            loss=self._loss_sum / max(self._num_images, 1),
            images_per_second=self._num_images / elapsed_s,
            data_wait_ratio=min(self._wait_s / elapsed_s, 1.0),
            phase_seconds={
                phase: seconds / self._num_steps for phase, seconds in phase_seconds.items()
            },
            num_steps=self._num_steps,
            num_images=self._num_images,
            seconds=elapsed_s,
        )
        self._total_images += self._num_images
        self._total_s += elapsed_s
        self._begin()
        return means


def overall(readings: Sequence[Means]) -> Means:
    """Return the means of all readings together, at least one."""
    num_steps = sum(one.num_steps for one in readings)
    num_images = sum(one.num_images for one in readings)
    seconds = sum(one.seconds for one in readings)
    phases = dict.fromkeys(phase for one in readings for phase in one.phase_seconds)
    return Means(
        loss=sum(one.loss * one.num_images for one in readings) / max(num_images, 1),
        images_per_second=num_images / seconds,
        data_wait_ratio=sum(one.data_wait_ratio * one.seconds for one in readings) / seconds,
        phase_seconds={
            phase: sum(one.phase_seconds.get(phase, 0.0) * one.num_steps for one in readings)
            / num_steps
            for phase in phases
        },
        num_steps=num_steps,
        num_images=num_images,
        seconds=seconds,
    )


def rates_to_tell(rates: Sequence[float]) -> tuple[float, ...]:
    """Return the replicas' rates, by rank, as an event has them: pure.

    Four digits are more than they are measured to. None before each replica has one.
    """
    if len(rates) < 2 or min(rates) <= 0:
        return ()
    told = sorted(rates) if len(rates) > MAX_REPLICAS_TOLD else rates
    num_told = min(len(rates), MAX_REPLICAS_TOLD)
    places = (place * (len(rates) - 1) // (num_told - 1) for place in range(num_told))
    return tuple(float(f"{told[place]:.4g}") for place in places)


def timed(batches: Iterator[Batch], stopwatch: Stopwatch) -> Iterator[tuple[Batch, float]]:
    """Yield each batch with the seconds it was waited for."""
    while True:
        asked = time.monotonic()
        with stopwatch.within("data_wait"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch, time.monotonic() - asked
