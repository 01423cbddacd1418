import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.inspection.plausible import mean_image_problem, pca_problem, stray_shards
from data_shards.manifest import RgbPca, load_manifest
from data_shards.packing.statistics import PixelSums


@given(seed=st.integers(0, 2**32 - 1), low=st.integers(0, 255))
def test_statistics_of_any_images_are_plausible(seed, low):
    random = np.random.default_rng(seed)
    sums = PixelSums.zero(5)
    for _ in range(3):
        sums.add_image(random.integers(low, 256, (5, 5, 3), dtype=np.uint8))
    assert mean_image_problem(sums.mean_image()) is None
    assert pca_problem(sums.rgb_pca()) is None


def test_the_most_that_colours_can_vary_is_plausible():
    sums = PixelSums.zero(2)
    sums.add_image(np.array([[[0, 0, 0], [255, 255, 255]]] * 2, dtype=np.uint8))
    assert pca_problem(sums.rgb_pca()) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.01, 255.1])
def test_a_mean_outside_the_images_is_none(value):
    mean = np.full((4, 4, 3), 100, np.float32)
    assert mean_image_problem(mean) is None
    mean[1, 2, 0] = value
    assert (mean_image_problem(mean) or "").startswith("holds values")


UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@pytest.mark.parametrize(
    ("values", "vectors", "problem"),
    [
        ((3, 2, 1), UPRIGHT, None),
        ((3, 2, -1), UPRIGHT, "negative"),
        ((2, 3, 1), UPRIGHT, "descending"),
        ((90_000, 2, 1), UPRIGHT, "greater"),
        ((3, 2, 1), ((2.0, 0.0, 0.0), *UPRIGHT[1:]), "of length 1"),
        ((3, 2, 1), (UPRIGHT[0], UPRIGHT[0], UPRIGHT[2]), "right angles"),
    ],
)
def test_what_are_no_principal_components(values, vectors, problem):
    found = pca_problem(RgbPca(eigenvalues=values, eigenvectors=vectors))
    assert found is None if problem is None else problem in (found or "")


def test_only_what_differs_from_a_shard_in_its_numbers_is_a_stray(packed):
    manifest = load_manifest(packed)
    names = ["train-000000.tar", "train-9.tar", "train-000004.tar.part", "test-000000.tar"]
    assert stray_shards(names, manifest) == ["train-9.tar"]
