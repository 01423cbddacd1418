"""Whether a set can be what its manifest says, as far as that shows without a shard; pure."""

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from data_shards.manifest import Manifest, RgbPca
from data_shards.shards.grouping import INDEXED_KIND

# What a variance of values on 0-255 can be at most, along one of three colours.
_MAX_VARIANCE = (255 / 2) ** 2
# Of numbers that were written in full; looser than their rounding.
_TOLERANCE = 1e-6


def mean_image_problem(mean: npt.NDArray[np.float32]) -> str | None:
    """Return why this can be no mean of images on 0-255; None if it can."""
    if not np.isfinite(mean).all():
        return "holds values that are no numbers"
    if mean.min() < 0 or mean.max() > 255:
        return f"holds values from {mean.min():g} to {mean.max():g}, not from 0 to 255"
    return None


def pca_problem(pca: RgbPca) -> str | None:
    """Return why these can be no principal components of colours on 0-255; None if they can."""
    values = np.array(pca.eigenvalues)
    # (3, 3), a component a row
    vectors = np.array(pca.eigenvectors)
    if values.min() < 0 or (np.diff(values) > 0).any():
        return "has rgb_pca.eigenvalues that are negative or not in descending order"
    if values.sum() > 3 * _MAX_VARIANCE * (1 + _TOLERANCE):
        return "has rgb_pca.eigenvalues greater than colours on 0-255 can have"
    if np.abs(vectors @ vectors.T - np.eye(3)).max() > _TOLERANCE:
        return "has rgb_pca.eigenvectors that are not of length 1 and at right angles"
    return None


def stray_shards(names: Iterable[str], manifest: Manifest) -> list[str]:
    """Return those names that look like the set's shards, but for their numbers, and are not.

    None of an indexed set: beside tars that were packed elsewhere may lie what was left out.
    """
    if manifest.packing.source == INDEXED_KIND:
        return []
    known = {entry.name for entry in manifest.files}
    patterns = {_without_numbers(entry.name) for entry in manifest.shards}
    return [name for name in names if name not in known and _without_numbers(name) in patterns]


def _without_numbers(name: str) -> str:
    return re.sub(r"[0-9]+", "0", name)
