"""Samples that could not be read: told, counted, and too many of them refused."""

from collections import Counter
from collections.abc import Callable, Sequence

from data_shards.loader import CorruptSample
from trainer.contract.events import SamplesSkipped
from trainer.errors import BadDataError
from trainer.replicas import Replicas

_NAMED_PER_EVENT = 20


class CorruptionGuard:
    """Counts an attempt's corrupt samples over all replicas."""

    def __init__(
        self, limit: int, replicas: Replicas, report: Callable[[SamplesSkipped], None]
    ) -> None:
        self._limit = limit
        self._replicas = replicas
        self._report = report
        self._by_shard: Counter[str] = Counter()

    def add(self, step: int, corrupt: Sequence[CorruptSample]) -> None:
        """Take this replica's corrupt samples of a step; every replica must call it alike.

        Raises BadDataError, in every replica, when there have been more than the limit.
        """
        samples = [sample for share in self._replicas.gather(tuple(corrupt)) for sample in share]
        self._by_shard.update(sample.shard for sample in samples)
        total = self._by_shard.total()
        self._report(
            SamplesSkipped(
                step=step,
                samples=tuple(name_of(sample) for sample in samples[:_NAMED_PER_EVENT]),
                reason=samples[0].reason,
                total=total,
            )
        )
        if total > self._limit:
            shard, count = self._by_shard.most_common(1)[0]
            raise BadDataError(
                f"{total} samples could not be read, more than data.corrupt_sample_limit = "
                f"{self._limit}; most of them, {count}, in {shard} "
                f"(the last: {name_of(samples[-1])}: {samples[-1].reason}); "
                "pack the images again, or raise the limit"
            )


def name_of(sample: CorruptSample) -> str:
    """Return SHARD:KEY."""
    return f"{sample.shard}:{sample.key}"
