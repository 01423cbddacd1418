import numpy as np
import pytest

from data_shards.inspection.describe import ClassBalance, class_balance, class_counts, describe
from data_shards.inspection.opened_set import open_set
from tests.unit.data_shards.conftest import CLASS_SIZES


def test_classes_are_counted_and_the_mean_colour_is_that_of_the_mean_image(packed):
    described = describe(open_set(str(packed)))
    assert described.class_counts == tuple(CLASS_SIZES.values())
    assert described.balance == ClassBalance(smallest=4, median=8, largest=11, num_empty=0)
    mean = np.load(packed / "mean_image.npy").astype(np.float64)
    assert described.mean_colour == pytest.approx(tuple(mean.reshape(-1, 3).mean(axis=0)))
    assert described.problems == ()


def test_classes_without_samples_count():
    counts = class_counts(np.array([1, 1, 3]), 6)
    assert counts == (0, 2, 0, 1, 0, 0)
    assert class_balance(counts) == ClassBalance(smallest=0, median=0, largest=2, num_empty=4)


def test_what_cannot_be_read_is_told(own_copy):
    (own_copy / "index.npy").unlink()
    (own_copy / "mean_image.npy").write_bytes(b"")
    described = describe(open_set(str(own_copy)))
    assert described.class_counts is None
    assert described.balance is None
    assert described.mean_colour is None
    first, second = described.problems
    assert first.startswith(f"{own_copy / 'index.npy'}: is missing")
    assert second.startswith(f"{own_copy / 'mean_image.npy'}: has 0 bytes")
