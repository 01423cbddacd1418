import itertools
from collections import Counter
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_shards.arrays import Int64s
from tests.unit.trainer.batches import make_batch
from trainer.contract.pictures import (
    MAX_CLASSES_OF_CONFUSION,
    MAX_CLASSES_OF_MATRIX,
    MAX_WORST_PAIRS,
    ClassCounts,
)
from trainer.devices.replicas import Replicas
from trainer.evaluation.classes import Counted, Guesses, class_counts, count, total

T = TypeVar("T")

CPU = torch.device("cpu")


@st.composite
def _judged(draw: st.DrawFn) -> tuple[Int64s, Int64s, int]:
    """Guesses, of outputs of which some may have no class, and labels."""
    num_classes = draw(st.integers(2, 7))
    num_outputs = num_classes + draw(st.integers(0, 3))
    num_samples = draw(st.integers(0, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    orders = [random.permutation(num_outputs)[:5] for _ in range(num_samples)]
    guesses = np.array(orders, dtype=np.int64).reshape(num_samples, min(5, num_outputs))
    return guesses, random.integers(0, num_classes, num_samples), num_classes


def _same(one: Counted, other: Counted) -> None:
    for name in ("num_samples", "right", "within_five", "pairs"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@given(judged=_judged())
def test_counts_are_what_counting_by_hand_gives(judged: tuple[Int64s, Int64s, int]) -> None:
    guesses, labels, num_classes = judged
    rows = list(zip(guesses.tolist(), labels.tolist(), strict=True))
    counted = count(guesses, labels, num_classes)
    for label in range(num_classes):
        own = [row for row, of in rows if of == label]
        assert counted.num_samples[label] == len(own)
        assert counted.right[label] == sum(row[0] == label for row in own)
        assert counted.within_five[label] == sum(label in row for row in own)
    pairs = Counter((label, row[0]) for row, label in rows if row[0] < num_classes)
    assert {(a, b): n for a, b, n in counted.pairs.tolist()} == pairs


@given(judged=_judged(), cuts=st.lists(st.integers(0, 30), max_size=3))
def test_the_replicas_counts_sum_up_to_those_of_all(
    judged: tuple[Int64s, Int64s, int], cuts: list[int]
) -> None:
    guesses, labels, num_classes = judged
    bounds = [0, *sorted(min(cut, len(labels)) for cut in cuts), len(labels)]
    parts = [
        count(guesses[start:stop], labels[start:stop], num_classes)
        for start, stop in itertools.pairwise(bounds)
    ]
    _same(total(parts, num_classes), count(guesses, labels, num_classes))


class _Two(Replicas):
    """Two replicas that have seen the same."""

    def gather(self, value: T) -> list[T]:
        return [value, value]


@pytest.mark.parametrize("num_batches", [0, 1, 3])
def test_what_is_not_real_counts_for_nothing(num_batches: int) -> None:
    guesses, num_real = Guesses(), [5, 0, 8][:num_batches]
    for real in num_real:
        batch = make_batch(crop_size=8, num_real=real)
        guesses.add(torch.from_numpy(batch.labels)[:, None], batch)
    counted = guesses.counted(_Two(CPU), 10)
    assert counted.num_samples.sum() == counted.right.sum() == 2 * sum(num_real)
    assert counted.pairs[:, 2].sum() == 2 * sum(num_real)


def _written(pairs: npt.ArrayLike, num_classes: int) -> Counted:
    zeros = np.zeros(num_classes, dtype=np.int64)
    return Counted(zeros, zeros, zeros, np.array(pairs, dtype=np.int64).reshape(-1, 3))


def test_the_worst_pairs_come_first_and_none_of_them_is_right() -> None:
    counted = _written([(0, 0, 9), (0, 1, 2), (1, 0, 5), (2, 1, 5)], 3)
    counts = class_counts(counted, ["a", "b", "c"], step=7, protocol="ten_view")
    worst = [(pair.name, pair.guess_name, pair.count) for pair in counts.worst_pairs]
    assert worst == [("b", "a", 5), ("c", "b", 5), ("a", "b", 2)]
    assert counts.confusion == ((9, 2, 0), (5, 0, 0), (0, 5, 0))
    assert (counts.step, counts.protocol) == (7, "ten_view")


def test_of_many_classes_there_are_the_worst_pairs_alone() -> None:
    num_classes = MAX_CLASSES_OF_CONFUSION + 1
    pairs = [(label, 0, label) for label in range(1, num_classes)]
    names = list(map(str, range(num_classes)))
    counts = class_counts(_written(pairs, num_classes), names, step=7, protocol="centre_crop")
    assert (counts.confusion, counts.pairs) == (None, None)
    assert len(counts.classes) == num_classes
    assert [pair.count for pair in counts.worst_pairs] == list(
        range(num_classes - 1, num_classes - 1 - MAX_WORST_PAIRS, -1)
    )


@pytest.mark.parametrize("num_classes", [MAX_CLASSES_OF_MATRIX + 1, MAX_CLASSES_OF_CONFUSION])
def test_of_more_classes_than_a_matrix_is_written_of_the_pairs_are(num_classes: int) -> None:
    pairs = [(0, 1, 2), (1, 1, 9), (num_classes - 1, 0, 5)]
    names = list(map(str, range(num_classes)))
    counts = class_counts(_written(pairs, num_classes), names, step=7, protocol="centre_crop")
    assert counts.confusion is None
    assert counts.pairs == tuple(pairs)
    assert "pairs" not in ClassCounts.model_validate_json(counts.model_dump_json()).model_fields_set
