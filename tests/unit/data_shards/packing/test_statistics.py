import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.packing.statistics import PixelSums


def sums_of(images: np.ndarray) -> PixelSums:
    sums = PixelSums.zero(images.shape[1])
    for image in images:
        sums.add_image(image)
    return sums


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(2, 7))
def test_agree_with_numpy_in_any_order(seed, num_images, size):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (num_images, size, size, 3), dtype=np.uint8)
    whole, parts = sums_of(images), sums_of(images[::2])
    parts.add(sums_of(images[1::2]))
    assert np.array_equal(whole.mean_image(), parts.mean_image())
    assert whole.rgb_pca() == parts.rgb_pca()
    np.testing.assert_allclose(whole.mean_image(), images.mean(axis=0), rtol=1e-6)
    pca = whole.rgb_pca()
    values, rows = np.array(pca.eigenvalues), np.array(pca.eigenvectors)
    covariance = np.cov(images.reshape(-1, 3).T, bias=True)
    np.testing.assert_allclose(rows.T @ np.diag(values) @ rows, covariance, atol=1e-8)
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-12)
    assert list(values) == sorted(values, reverse=True)
    assert all(max(row, key=abs) > 0 for row in rows)


def test_grey_images_vary_along_grey_alone():
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8), 3, 3)
    pca = sums_of(grey).rgb_pca()
    assert pca.eigenvectors[0] == pytest.approx([3**-0.5] * 3)
    assert pca.eigenvalues[0] == pytest.approx(3 * grey.var())
    assert 0 <= pca.eigenvalues[2] <= pca.eigenvalues[1] < 1e-9


def test_a_million_bright_images_do_not_overflow():
    sums = PixelSums.zero(256)
    one = sums_of(np.full((1, 256, 256, 3), 255, dtype=np.uint8))
    for _ in range(21):
        sums.add(one)
        one.add(one)
    assert sums.num_images == 2**21 - 1
    assert (sums.mean_image() == 255).all()
    assert sums.rgb_pca().eigenvalues == (0, 0, 0)
