"""From any image file to the paper's square (section 2), and from the square to bytes."""

import warnings
from enum import StrEnum
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from data_shards.decode import Pixels


class SkipReason(StrEnum):
    """Why an image was left out."""

    UNREADABLE = "unreadable"
    """No image, cut short, or broken."""
    TOO_MANY_PIXELS = "too_many_pixels"
    """More than Pillow thinks safe (89 million): a pixel bomb, or near it."""


class SkippedImageError(Exception):
    """An image cannot be packed."""

    def __init__(self, reason: SkipReason) -> None:
        super().__init__(reason)
        self.reason = reason


def load_square(path: Path, size: int) -> Pixels:
    """Read an image file as uint8 (size, size, 3), RGB. Raises SkippedImageError."""
    if not path.is_file():
        # A pipe or a device would be waited for, for ever.
        raise SkippedImageError(SkipReason.UNREADABLE)
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata, which is not ours to mend, and of pixel bombs.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return square(image, size)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise SkippedImageError(SkipReason.TOO_MANY_PIXELS) from None
    except Exception as error:
        # Any kind: Pillow's plugins raise whatever they meet in a broken file.
        raise SkippedImageError(SkipReason.UNREADABLE) from error


def square(image: Image.Image, size: int) -> Pixels:
    """Scale the shorter side to `size` and take the centre square (paper section 2).

    Both at once: the centre square of the shorter side, in exact source coordinates, is resampled
    with Lanczos' filter, widened when scaling down. Returns uint8 (size, size, 3), RGB.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode not in ("L", "RGB"):
        upright = upright.convert("RGB")
    edge = min(upright.size)
    left, top = (upright.width - edge) / 2, (upright.height - edge) / 2
    scaled = upright.resize(
        (size, size), Image.Resampling.LANCZOS, box=(left, top, left + edge, top + edge)
    )
    return np.asarray(scaled.convert("RGB"))


def encode_jpeg(image: Pixels, quality: int) -> bytes:
    """Encode with colour at half resolution, as photographs are: smaller, and quicker to read."""
    encoded = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=quality, colorsubsampling="420"
    )
    return bytes(encoded)
