"""Random draws of augmentation, each a pure function of (seed, epoch, sample or chunk).

No generator state: the same sample in the same epoch gets the same crop, mirror and colour in any
process, after any restart. The bits come from a counter-based hash: the finaliser of splitmix64
(Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014), chained over
purpose and seed, epoch, and sample, with one purpose constant a draw.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from data_shards.arrays import Bools, Int64s, Uint64s

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB

Unit = Literal["sample", "chunk"]
"""What one crop and one mirror are drawn for: an image, or consecutive images together."""

# One purpose a draw; changing a number changes every run.
_CROP: Mapping[Unit, tuple[int, ...]] = {"sample": (1,), "chunk": (9,)}
_MIRROR: Mapping[Unit, tuple[int, ...]] = {"sample": (2,), "chunk": (10,)}
_COLOUR = (3, 4, 5, 6, 7, 8)  # a pair for each of three normals


def crop_offsets(
    numbers: Int64s, *, seed: int, epoch: int, num_positions: int, unit: Unit = "sample"
) -> Int64s:
    """Return (n, 2) offsets (row, column), each uniform in [0, num_positions).

    `numbers`, (n,), are of samples or of chunks. A 224 crop of a 256 image has 33 positions each
    way (paper section 4.1 says 32).
    """
    (bits,) = _bits(numbers, seed=seed, epoch=epoch, purposes=_CROP[unit])
    # High and low half, (n,) each, scaled to the range: biased by less than positions / 2**32.
    halves = np.stack([bits >> np.uint64(32), bits & np.uint64(0xFFFFFFFF)], axis=1)
    return ((halves * np.uint64(num_positions)) >> np.uint64(32)).astype(np.int64)


def mirrored(numbers: Int64s, *, seed: int, epoch: int, unit: Unit = "sample") -> Bools:
    """Return (n,) whether to reflect left to right; half of them (section 4.1)."""
    (bits,) = _bits(numbers, seed=seed, epoch=epoch, purposes=_MIRROR[unit])
    return np.asarray(bits >> np.uint64(63), dtype=np.bool_)


def colour_normals(samples: Int64s, *, seed: int, epoch: int) -> npt.NDArray[np.float32]:
    """Return (n, 3) standard normals, one for each principal component (section 4.1).

    Drawn once for each presentation of an image; the caller scales them by its strength.
    """
    # (6, n): radius and angle of each component in turn.
    bits = _bits(samples, seed=seed, epoch=epoch, purposes=_COLOUR)
    # (n, 3) each, in (0, 1] so that the logarithm is finite.
    radius, angle = _unit(bits[0::2].T), _unit(bits[1::2].T)
    # Box and Muller's transform.
    normals = np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)
    return np.asarray(normals, dtype=np.float32)


def _unit(bits: Uint64s) -> npt.NDArray[np.float64]:
    """Return floats in (0, 1] from the upper 53 bits."""
    return ((bits >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53


def _bits(numbers: Int64s, *, seed: int, epoch: int, purposes: tuple[int, ...]) -> Uint64s:
    """Return (purposes, n) independent 64-bit numbers."""
    keys = [(seed + purpose * _GOLDEN) % 2**64 for purpose in purposes]
    # (purposes, 1) + (n,) -> (purposes, n)
    state = _mix(_mix(np.array(keys, dtype=np.uint64)[:, None]) + np.uint64(epoch))
    return _mix(_mix(state + numbers.astype(np.uint64) * np.uint64(_GOLDEN)))


def _mix(state: Uint64s) -> Uint64s:
    """Splitmix64's finaliser: a bijection in which every input bit moves every output bit."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_FIRST)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_SECOND)
    return state ^ (state >> np.uint64(31))
