"""Images that cannot be packed, and why."""

from enum import StrEnum


class SkipReason(StrEnum):
    """Why an image was left out."""

    UNREADABLE = "unreadable"
    """No image, cut short, or broken."""
    TOO_MANY_PIXELS = "too_many_pixels"
    """More than Pillow thinks safe (89 million): a pixel bomb, or near it."""
    TOO_MANY_BYTES = "too_many_bytes"
    """A file of more than a gigabyte."""
    UNKNOWN_WHITE = "unknown_white"
    """Grey values of 32 bits: nothing tells which of them is white."""


class SkippedImageError(Exception):
    """An image cannot be packed."""

    def __init__(self, reason: SkipReason) -> None:
        super().__init__(reason)
        self.reason = reason
