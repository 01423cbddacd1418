"""Dropout whose masks are a function of their place, not of a generator's state.

Half of the outputs of fc6 and fc7 are set to zero in training; at test all of them count half
(paper section 4.2). Inverted, which neither recipe is, it doubles in training what it keeps, and
leaves the test alone. Whether a unit is dropped depends on (seed, step, place in the global batch,
tower, layer, unit) alone: not on the replica, the micro-batch or the device that computes it.

The bits come from splitmix64's finaliser (Steele, Lea & Flood, "Fast splittable pseudorandom number
generators", 2014) chained over those numbers; one 64-bit word decides 64 units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

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
    """Return bool (num_images, num_units), true where a unit is kept: with probability a half."""
    key = _mix_number(draw.seed)
    for number in (draw.step, _PURPOSES[layer], tower):
        key = _mix_number(key ^ number)
    # Counted on the device itself, so that nothing crosses to the second tower's.
    places = torch.arange(draw.first_place, draw.first_place + num_images, device=device)
    # (n, 1): one state an image
    states = _mix((places * _signed(_GOLDEN) + _signed(key)).unsqueeze(1))
    num_words = -(-num_units // _BITS)
    # (n, num_words) -> (n, num_words, 64) -> (n, num_words * 64)
    words = _mix(states + torch.arange(num_words, device=device) * _signed(_GOLDEN))
    bits = (words.unsqueeze(2) >> torch.arange(_BITS, device=device)) & 1
    return bits.flatten(1)[:, :num_units].to(torch.bool)


def _mix(state: Tensor) -> Tensor:
    """Mix int64 states; every input bit moves every output bit. Products wrap modulo 2^64."""
    state = (state ^ _shift(state, 30)) * _signed(_FIRST)
    state = (state ^ _shift(state, 27)) * _signed(_SECOND)
    return state ^ _shift(state, 31)


def _mix_number(state: int) -> int:
    """Mix one number as `_mix` does, after adding the golden ratio so that 0 does not stay 0."""
    state = (state + _GOLDEN) % _WORD
    state = (state ^ (state >> 30)) * _FIRST % _WORD
    state = (state ^ (state >> 27)) * _SECOND % _WORD
    return state ^ (state >> 31)


def _shift(state: Tensor, places: int) -> Tensor:
    """Shift right, filling with zeros: torch's >> on int64 copies the sign."""
    return (state >> places) & ((1 << (_BITS - places)) - 1)


def _signed(word: int) -> int:
    """Return the int64 with the same bits."""
    return word - _WORD if word >= _WORD // 2 else word
