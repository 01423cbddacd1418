"""What an evaluation made of each class: counted from its guesses when it is over.

Until then they stay where they were made: to count them is to wait for the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_shards.arrays import Bools, Int64s
from data_shards.feeding.reader import Batch
from trainer.contract.pictures import (
    MAX_CLASSES_OF_CONFUSION,
    MAX_CLASSES_OF_MATRIX,
    MAX_WORST_PAIRS,
    ClassCount,
    ClassCounts,
    ConfusedPair,
)
from trainer.contract.spec import Protocol
from trainer.devices.replicas import Replicas


@dataclass(frozen=True)
class Counted:
    """Counts of samples by class, and by true class and first guess."""

    num_samples: Int64s
    """(classes,)"""
    right: Int64s
    """(classes,)"""
    within_five: Int64s
    """(classes,)"""
    pairs: Int64s
    """(k, 3): true class, first guess, count; ascending, and of no count of zero."""


class Guesses:
    """The best guesses of the samples of an evaluation; in this replica's share of them."""

    def __init__(self) -> None:
        self._of_batches: list[tuple[Tensor, Int64s, Bools]] = []

    def add(self, guesses: Tensor, batch: Batch) -> None:
        """Take a batch's, int64 (n, up to 5), likeliest first."""
        self._of_batches.append((guesses, batch.labels, batch.real))

    def counted(self, replicas: Replicas, num_classes: int) -> Counted:
        """Count them over all replicas, each of which must ask."""
        return total(replicas.gather(self._counted(num_classes)), num_classes)

    def _counted(self, num_classes: int) -> Counted:
        if not self._of_batches:
            return total([], num_classes)
        guesses, labels, real = zip(*self._of_batches, strict=True)
        kept = np.concatenate(real)
        return count(
            torch.cat(guesses).cpu().numpy()[kept], np.concatenate(labels)[kept], num_classes
        )


def count(guesses: Int64s, labels: Int64s, num_classes: int) -> Counted:
    """Count (n, up to 5) guesses of samples with (n,) labels.

    A guess that is none of the classes is wrong, and makes no pair.
    """
    hits = guesses == labels[:, None]
    is_class = guesses[:, 0] < num_classes
    codes, counts = np.unique(
        labels[is_class] * num_classes + guesses[is_class, 0], return_counts=True
    )
    return Counted(
        num_samples=np.bincount(labels, minlength=num_classes),
        right=np.bincount(labels[hits[:, 0]], minlength=num_classes),
        within_five=np.bincount(labels[hits.any(axis=1)], minlength=num_classes),
        pairs=np.column_stack((codes // num_classes, codes % num_classes, counts)),
    )


def total(parts: Sequence[Counted], num_classes: int) -> Counted:
    """Return the sums of counts of different samples."""
    none = np.zeros((0, 3), dtype=np.int64)
    pairs = np.concatenate([none, *(part.pairs for part in parts)])
    places, inverse = np.unique(pairs[:, :2], axis=0, return_inverse=True)
    counts = np.zeros(len(places), dtype=np.int64)
    np.add.at(counts, inverse.reshape(-1), pairs[:, 2])
    zeros = np.zeros(num_classes, dtype=np.int64)
    return Counted(
        num_samples=sum((part.num_samples for part in parts), zeros),
        right=sum((part.right for part in parts), zeros),
        within_five=sum((part.within_five for part in parts), zeros),
        pairs=np.column_stack((places, counts)),
    )


def class_counts(
    counted: Counted, names: Sequence[str], *, step: int, protocol: Protocol
) -> ClassCounts:
    """Return counts as they are written down; `names` by label."""
    columns = (counted.num_samples, counted.right, counted.within_five)
    classes = tuple(
        ClassCount(label=label, name=name, num_samples=n, right=right, within_five=within_five)
        for label, (name, n, right, within_five) in enumerate(
            zip(names, *(column.tolist() for column in columns), strict=True)
        )
    )
    is_drawn = len(names) <= MAX_CLASSES_OF_CONFUSION
    is_dense = len(names) <= MAX_CLASSES_OF_MATRIX
    return ClassCounts(
        step=step,
        protocol=protocol,
        classes=classes,
        confusion=_confusion(counted) if is_dense else None,
        pairs=tuple(map(tuple, counted.pairs.tolist())) if is_drawn and not is_dense else None,
        worst_pairs=_worst_pairs(counted, names),
    )


def _confusion(counted: Counted) -> tuple[tuple[int, ...], ...]:
    num_classes = len(counted.num_samples)
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    labels, guesses, counts = counted.pairs.T
    matrix[labels, guesses] = counts
    return tuple(map(tuple, matrix.tolist()))


def _worst_pairs(counted: Counted, names: Sequence[str]) -> tuple[ConfusedPair, ...]:
    wrong = counted.pairs[counted.pairs[:, 0] != counted.pairs[:, 1]]
    # Of equals the first by label, as they come.
    worst = wrong[np.argsort(-wrong[:, 2], kind="stable")][:MAX_WORST_PAIRS]
    return tuple(
        ConfusedPair(
            label=label, name=names[label], guess=guess, guess_name=names[guess], count=number
        )
        for label, guess, number in worst.tolist()
    )
