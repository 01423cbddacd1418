"""What a replica measures for Prometheus, held in memory: nobody waits for whoever reads it.

All series are there from the beginning: so they stay few, and have a rate when they first grow.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from data_shards.feeding.feed_cost import CacheResult, Source, Stage
from data_shards.feeding.reader import Batch
from trainer.contract.events import Phase

Split = Literal["train", "validation"]

# From a step of a small network on a GPU to one of the whole on few cores, in seconds.
STEP_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100)
# From 3 MB on a local disk to 500 MB on one that is far away and busy, in seconds.
CHECKPOINT_BUCKETS_S = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100, 300)


@dataclass(eq=False)
class Series:
    """One number, and the labels by which it differs from others of its name."""

    name: str
    description: str
    labels: Mapping[str, str]
    value: float = 0.0


class Histogram:
    """How many values there were, how many of them within each bound, and what they add up to."""

    def __init__(
        self, name: str, description: str, bounds: tuple[float, ...], labels: Mapping[str, str]
    ) -> None:
        self._bounds = bounds
        self._buckets = [
            Series(f"{name}_bucket", description, {**labels, "le": bound})
            for bound in (*(f"{bound:g}" for bound in bounds), "+Inf")
        ]
        self._sum = Series(f"{name}_sum", description, labels)
        self._count = Series(f"{name}_count", description, labels)

    @property
    def series(self) -> tuple[Series, ...]:
        """All its numbers."""
        return (*self._buckets, self._sum, self._count)

    def observe(self, value: float) -> None:
        """Count a value."""
        for bucket in self._buckets[bisect_left(self._bounds, value) :]:
            bucket.value += 1
        self._sum.value += value
        self._count.value += 1


class ReplicaMetrics:
    """The series of one replica; each is written by one thread."""

    def __init__(self, job_id: str, replica: int) -> None:
        self._series: list[Series] = []
        job = {"job_id": job_id}
        of_replica = {**job, "replica": str(replica)}
        self._trained = self._one(
            "alexnet_train_samples_total", "Samples trained, corrupt ones left out.", of_replica
        )
        self._steps = self._histogram(
            "alexnet_train_step_seconds",
            "From the end of a step to that of the next, evaluations left out.",
            STEP_BUCKETS_S,
            of_replica,
        )
        self._phases: Mapping[Phase, Series] = {
            phase: self._one(
                "alexnet_train_phase_seconds_total",
                "What the replica's time went to.",
                {**of_replica, "phase": phase},
            )
            for phase in get_args(Phase)
        }
        self._noted: dict[Phase, float] = {}
        """Seconds by phase that were noted."""
        self._unnoted: Callable[[], Mapping[Phase, float]] = dict
        self._saves = Histogram(
            "alexnet_checkpoint_save_seconds",
            "From the snapshot of a checkpoint until it is committed.",
            CHECKPOINT_BUCKETS_S,
            {},
        )
        if replica == 0:
            self._series += self._saves.series
        self._samples: Mapping[Split, Series] = {
            split: self._one("alexnet_data_samples_total", "Samples fed.", {**job, "split": split})
            for split in get_args(Split)
        }
        self._bytes: Mapping[Source, Series] = {
            source: self._one(
                "alexnet_data_read_bytes_total",
                "Stored images read of local shards and of the node's copies; bytes fetched.",
                {"source": source},
            )
            for source in get_args(Source)
        }
        self._stages: Mapping[Stage, Series] = {
            stage: self._one(
                "alexnet_data_stage_seconds_total",
                "What the time of those who feed went to.",
                {"stage": stage},
            )
            for stage in get_args(Stage)
        }
        self._requests: Mapping[CacheResult, Series] = {
            result: self._one(
                "alexnet_data_cache_requests_total",
                "Shards that the node's cache had when they were opened, and had not.",
                {"result": result},
            )
            for result in get_args(CacheResult)
        }
        self._ready = self._one(
            "alexnet_data_prefetched_batches", "Batches that stand ready when one is taken.", {}
        )

    @property
    def series(self) -> tuple[Series, ...]:
        """All of them, as of now; the same ever after. To be asked by one thread."""
        # In this order: what is noted meanwhile is missed, never twice.
        noted = dict(self._noted)
        unnoted = self._unnoted()
        for phase, series in self._phases.items():
            # What falls, if by a rounding, would be taken for a new beginning, and counted again.
            series.value = max(series.value, noted.get(phase, 0.0) + unnoted.get(phase, 0.0))
        return tuple(self._series)

    def counted(self, batches: Iterable[Batch], split: Split) -> Iterator[Batch]:
        """Yield the batches, and count each as it is taken."""
        for batch in batches:
            self._samples[split].value += int(np.count_nonzero(batch.real))
            _add(self._stages, batch.cost.stage_seconds())
            _add(self._bytes, batch.cost.read_bytes())
            _add(self._requests, batch.cost.cache_requests())
            self._ready.value = batch.num_ready
            yield batch

    def note_step(self, seconds: float, *, num_trained: int = 0) -> None:
        """Count a step, and the samples that this replica trained in it."""
        self._steps.observe(seconds)
        self._trained.value += num_trained

    def note_phases(self, seconds: Mapping[Phase, float]) -> None:
        """Add what the time went to of late."""
        self._noted = {
            phase: self._noted.get(phase, 0.0) + seconds.get(phase, 0.0)
            for phase in self._noted | dict(seconds)
        }

    def follow(self, unnoted: Callable[[], Mapping[Phase, float]]) -> None:
        """Count besides, at any moment, the seconds by phase that are still to be noted.

        So a wait is seen while it lasts, and not once a step of many minutes is done.
        """
        self._unnoted = unnoted

    def note_checkpoint(self, seconds: float) -> None:
        """Count a checkpoint that was saved."""
        self._saves.observe(seconds)

    def _one(self, name: str, description: str, labels: Mapping[str, str]) -> Series:
        series = Series(name, description, labels)
        self._series.append(series)
        return series

    def _histogram(
        self, name: str, description: str, bounds: tuple[float, ...], labels: Mapping[str, str]
    ) -> Histogram:
        histogram = Histogram(name, description, bounds, labels)
        self._series += histogram.series
        return histogram


def _add(series: Mapping[Any, Series], more: Mapping[Any, float]) -> None:
    for label, amount in more.items():
        series[label].value += amount
