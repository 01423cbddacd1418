"""Samples that cannot be shown to a network, and why."""

from enum import StrEnum
from typing import NamedTuple


class CorruptReason(StrEnum):
    """Why a stored sample is no image that can be used; few, so that they can be counted by."""

    NOT_AN_IMAGE = "not_an_image"
    """Bytes of no known kind: not a JPEG, or whatever lies where the index points."""
    BROKEN = "broken"
    """An image cut short or damaged. What is left of it is not shown: it would be grey below."""
    WRONG_SIZE = "wrong_size"
    """Sound, but not of the size that the manifest promises."""
    TOO_MANY_PIXELS = "too_many_pixels"
    """So many that decoding them would take memory without measure: a pixel bomb, or near it."""
    TOO_MANY_BYTES = "too_many_bytes"
    """More than an image of the size that the manifest promises can have."""
    UNKNOWN_WHITE = "unknown_white"
    """Grey values of 32 bits: nothing tells which of them is white."""


class CorruptImageError(Exception):
    """The bytes are not the image the manifest promises."""

    def __init__(self, reason: CorruptReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class CorruptSample(NamedTuple):
    """A sample that could not be read, and so weighs zero."""

    sample: int
    """Its number in the manifest's sequence."""
    shard: str
    key: str
    reason: CorruptReason
    detail: str
    """What is wrong, in words."""

    @property
    def name(self) -> str:
        """SHARD:KEY."""
        return f"{self.shard}:{self.key}"
