"""Images that cannot be packed, and why."""

from enum import StrEnum

MAX_PIXELS = 10_000**2
"""Of an image: assumed, more than a photograph has. Pillow decodes them into 400 MB, and into as
much again if they are of other colours than RGB."""
MAX_FILE_BYTES = 1 << 30
"""Of an image file: assumed, more than any needs that has not too many pixels."""


class SkipReason(StrEnum):
    """Why an image was left out."""

    UNREADABLE = "unreadable"
    """No image, cut short, broken, or a JPEG that goes over the image more often than any camera's.
    """
    TOO_MANY_PIXELS = "too_many_pixels"
    """More than 10,000 × 10,000, or a side of more than a JPEG can have: a pixel bomb, or near it.
    """
    TOO_MANY_BYTES = "too_many_bytes"
    """A file of more than a gigabyte."""
    UNKNOWN_WHITE = "unknown_white"
    """Grey values of 32 bits: nothing tells which of them is white."""


class SkippedImageError(Exception):
    """An image cannot be packed."""

    def __init__(self, reason: SkipReason) -> None:
        super().__init__(reason)
        self.reason = reason
