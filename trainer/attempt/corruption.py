"""Samples that could not be read: told, counted, and too many of them refused."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, cast

from data_shards.feeding.corrupt import CorruptReason, CorruptSample
from data_shards.feeding.reader import Batch
from trainer.contract.events import CountsByReason, SamplesSkipped, in_words
from trainer.devices.replicas import Replicas
from trainer.errors import BadDataError

Split = Literal["training", "validation"]

_NAMED_PER_EVENT = 20


class _Place(NamedTuple):
    """Where a sample lies. Two sets that were packed elsewhere may name their shards alike."""

    split: Split
    shard: str
    number: int


class CorruptionGuard:
    """Counts an attempt's corrupt samples over all replicas, each once however often it is met."""

    def __init__(
        self, limit: int, replicas: Replicas, report: Callable[[SamplesSkipped], None]
    ) -> None:
        self._limit = limit
        self._replicas = replicas
        self._report = report
        self._known: dict[_Place, CorruptReason] = {}

    def by_reason(self, split: Split) -> CountsByReason:
        """Return how many distinct samples of a set were corrupt so far, over all replicas."""
        return counts_by_reason(
            reason for place, reason in self._known.items() if place.split == split
        )

    def watch(self, step: int, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of a pass over the validation set; at its end, do as `add` does.

        Of a pass that meets more than the limit no more are kept, so that the totals then told are
        the least that there are: replicas sum after each batch, and so none may stop by itself.
        """
        met: dict[_Place, CorruptSample] = {}
        for batch in batches:
            for place, sample in self._new("validation", batch.corrupt).items():
                if len(met) <= self._limit:
                    met[place] = sample
            yield batch
        self.add(step, "validation", met.values())

    def add(self, step: int, split: Split, corrupt: Iterable[CorruptSample]) -> None:
        """Take the corrupt samples that this replica met; every replica must call it alike.

        Tells of those not met before. Raises BadDataError, in every replica, when they have become
        more than the limit.
        """
        shares = self._replicas.gather(tuple(corrupt))
        new = self._new(split, (sample for share in shares for sample in share))
        if not new:
            return
        self._known |= {place: sample.reason for place, sample in new.items()}
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
            shards = Counter((place.split, place.shard) for place in self._known)
            [((worst_split, worst), count)] = shards.most_common(1)
            raise BadDataError(
                f"{total} samples could not be read, more than data.corrupt_sample_limit = "
                f"{self._limit} ({in_words(counts_by_reason(self._known.values()))}); "
                f"most of them, {count}, in {worst} of the {worst_split} set "
                f"(the last: {named[-1].name}: {named[-1].detail}); "
                "pack the images again, or raise the limit"
            )

    def _new(self, split: Split, corrupt: Iterable[CorruptSample]) -> dict[_Place, CorruptSample]:
        places = ((_Place(split, sample.shard, sample.sample), sample) for sample in corrupt)
        return {place: sample for place, sample in places if place not in self._known}


def counts_by_reason(reasons: Iterable[CorruptReason]) -> CountsByReason:
    """Count, in the contract's words."""
    # The names are the enum's values; a test compares them.
    return cast("CountsByReason", dict(Counter(str(reason) for reason in reasons)))
