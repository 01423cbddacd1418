"""What a manifest and the files beside it say of a set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_shards.arrays import Int64s
from data_shards.errors import ShardError
from data_shards.inspection.opened_set import OpenedSet
from data_shards.manifest import Triple
from data_shards.shards.index import LABEL


@dataclass(frozen=True)
class ClassBalance:
    """How many samples the classes have."""

    smallest: int
    median: float
    largest: int
    num_empty: int
    """Classes without any sample."""


@dataclass(frozen=True)
class Description:
    """What the manifest does not say itself; None where its file is not as it must be."""

    class_counts: tuple[int, ...] | None
    """Samples of each class, by label."""
    mean_colour: Triple | None
    """RGB on 0-255."""
    problems: tuple[str, ...]
    """What is wrong with those files."""

    @property
    def balance(self) -> ClassBalance | None:
        """Return the balance of the classes."""
        return None if self.class_counts is None else class_balance(self.class_counts)


def describe(opened: OpenedSet) -> Description:
    """Read the index and the mean image of a set; what cannot be read is told, not raised."""
    problems: list[str] = []
    counts: tuple[int, ...] | None = None
    colour: Triple | None = None
    try:
        counts = class_counts(opened.index()[:, LABEL], len(opened.manifest.classes))
    except ShardError as error:
        problems.append(str(error))
    try:
        red, green, blue = opened.mean_image().mean(axis=(0, 1), dtype=np.float64)
        colour = float(red), float(green), float(blue)
    except ShardError as error:
        problems.append(str(error))
    return Description(counts, colour, tuple(problems))


def class_counts(labels: Int64s, num_classes: int) -> tuple[int, ...]:
    """Return how many of the labels, (num_samples,), each class has."""
    return tuple(np.bincount(labels, minlength=num_classes).tolist())


def class_balance(counts: Sequence[int]) -> ClassBalance:
    """Return the balance of classes with so many samples each."""
    return ClassBalance(
        smallest=min(counts),
        median=float(np.median(counts)),
        largest=max(counts),
        num_empty=sum(count == 0 for count in counts),
    )
