"""Samples that could not be read: told, counted, and too many of them refused."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from data_shards.feeding.corrupt import CorruptReason, CorruptSample
from data_shards.feeding.reader import Batch
from trainer.contract.events import CountsByReason, SamplesSkipped, in_words
from trainer.errors import BadDataError
from trainer.replicas import Replicas

_NAMED_PER_EVENT = 20


class CorruptionGuard:
    """Counts an attempt's corrupt samples over all replicas, each once however often it is met."""

    def __init__(
        self, limit: int, replicas: Replicas, report: Callable[[SamplesSkipped], None]
    ) -> None:
        self._limit = limit
        self._replicas = replicas
        self._report = report
        self._known: dict[tuple[str, int], CorruptSample] = {}
        """By shard and number: of training and validation, whose shards have other names."""

    @property
    def by_reason(self) -> CountsByReason:
        """How many distinct samples were corrupt so far, over all replicas."""
        return counts_by_reason(sample.reason for sample in self._known.values())

    def watch(self, step: int, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of a pass, and at its end take what was corrupt in them, like `add`."""
        corrupt: list[CorruptSample] = []
        for batch in batches:
            corrupt += batch.corrupt
            yield batch
        self.add(step, corrupt)

    def add(self, step: int, corrupt: Iterable[CorruptSample]) -> None:
        """Take the corrupt samples that this replica met; every replica must call it alike.

        Tells of those not met before. Raises BadDataError, in every replica, when they have become
        more than the limit.
        """
        samples = [sample for share in self._replicas.gather(tuple(corrupt)) for sample in share]
        new = {
            (sample.shard, sample.sample): sample
            for sample in samples
            if (sample.shard, sample.sample) not in self._known
        }
        if not new:
            return
        self._known |= new
        named = list(new.values())
        total = len(self._known)
        self._report(
            SamplesSkipped(
                step=step,
                samples=tuple(sample.name for sample in named[:_NAMED_PER_EVENT]),
                reason=named[0].detail,
                by_reason=counts_by_reason(sample.reason for sample in named),
                total=total,
            )
        )
        if total > self._limit:
            [(worst, count)] = Counter(shard for shard, _ in self._known).most_common(1)
            raise BadDataError(
                f"{total} samples could not be read, more than data.corrupt_sample_limit = "
                f"{self._limit} ({in_words(self.by_reason)}); most of them, {count}, in {worst} "
                f"(the last: {named[-1].name}: {named[-1].detail}); "
                "pack the images again, or raise the limit"
            )


def counts_by_reason(reasons: Iterable[CorruptReason]) -> CountsByReason:
    """Count, in the contract's words."""
    # The names are the enum's values; a test compares them.
    return cast("CountsByReason", dict(Counter(str(reason) for reason in reasons)))
