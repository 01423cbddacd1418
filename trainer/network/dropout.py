"""Dropout whose masks are a function of their place, not of a generator's state.

Half of the outputs of fc6 and fc7 are set to zero in training; at test all of them count half
(paper section 4.2). Inverted, which neither recipe is, it doubles in training what it keeps, and
leaves the test alone. Whether a unit is dropped depends on (seed, step, place in the global batch,
tower, layer, unit) alone: not on the replica, the micro-batch or the device that computes it.

The bits come from splitmix64's finaliser (Steele, Lea & Flood, "Fast splittable pseudorandom number
generators", 2014) chained over those numbers; one 64-bit word decides 64 units.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.devices.upload import upload

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_WORD = 1 << 64
_BITS = 64

# One purpose a layer; changing a number changes every run.
_PURPOSES = {"fc6": 1, "fc7": 2}

# What every output counts at test, section 4.2.
TEST_SCALE = 0.5


@dataclass(frozen=True)
class DropoutDraw:
    """Where in the run a forward pass stands; decides all of its masks."""

    seed: int
    step: int
    first_place: int
    """Index in the global batch of the first image; the others follow it."""


def drop(
    x: Tensor, draw: DropoutDraw | None, *, layer: str, tower: int, inverted: bool = False
) -> Tensor:
    """Drop half of x, (n, units), or without a draw (at test) halve it all."""
    if draw is None:
        return x if inverted else x * TEST_SCALE
    n, num_units = x.shape
    kept = x * mask(draw, n, layer=layer, tower=tower, num_units=num_units, device=x.device)
    return kept / TEST_SCALE if inverted else kept


def mask(
    draw: DropoutDraw,
    num_images: int,
    *,
    layer: str,
    tower: int,
    num_units: int,
    device: torch.device,
) -> Tensor:
    """Return bool (num_images, num_units), true where a unit is kept: with probability a half.

    Drawn by the host, which has little else to do: on a GPU so few numbers take as many launches.
    """
    key = _mix_number(draw.seed)
    for number in (draw.step, _PURPOSES[layer], tower):
        key = _mix_number(key ^ number)
    places = np.arange(draw.first_place, draw.first_place + num_images, dtype=np.uint64)
    # (n, 1): one state an image
    states = _mix(places[:, None] * np.uint64(_GOLDEN) + np.uint64(key))
    num_words = -(-num_units // _BITS)
    # (n, num_words)
    words = _mix(states + np.arange(num_words, dtype=np.uint64) * np.uint64(_GOLDEN))
    # (n, num_words * 8) bytes, the lowest first -> (n, num_units)
    octets = words.astype("<u8", copy=False).view(np.uint8)
    bits = np.unpackbits(octets, axis=1, count=num_units, bitorder="little")
    return upload(bits.view(np.bool_), device)


def _mix(states: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix states; every input bit moves every output bit. Products wrap modulo 2^64."""
    states = (states ^ (states >> np.uint64(30))) * np.uint64(_FIRST)
    states = (states ^ (states >> np.uint64(27))) * np.uint64(_SECOND)
    return states ^ (states >> np.uint64(31))


def _mix_number(state: int) -> int:
    """Mix one number as `_mix` does, after adding the golden ratio so that 0 does not stay 0."""
    state = (state + _GOLDEN) % _WORD
    state = (state ^ (state >> 30)) * _FIRST % _WORD
    state = (state ^ (state >> 27)) * _SECOND % _WORD
    return state ^ (state >> 31)
