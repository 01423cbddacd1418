"""From any image file to the paper's square (section 2), and from the square to bytes."""

import warnings
from enum import StrEnum
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from data_shards.decode import Pixels
from data_shards.errors import SourceError

# Pillow's own decoders alone. It knows others that start programs: EPS runs Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
# Assumed: more than any image needs that has not too many pixels.
_MAX_FILE_BYTES = 1 << 30


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


def load_square(path: Path, size: int) -> Pixels:
    """Read an image file as uint8 (size, size, 3), RGB.

    Raises SkippedImageError if the file is no such image; SourceError if the machine fails: the
    disk cannot read, memory runs out.
    """
    content = _content_of(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata, which is not ours to mend, and of pixel bombs.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(content), formats=_FORMATS) as image:
                return square(image, size)
    except SkippedImageError:
        raise
    except MemoryError:
        raise SourceError(
            f"there is not enough memory to decode {path}; pack with fewer --processes"
        ) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise SkippedImageError(SkipReason.TOO_MANY_PIXELS) from None
    except Exception as error:
        # Any kind: Pillow's plugins raise whatever they meet in a broken file.
        raise SkippedImageError(SkipReason.UNREADABLE) from error


def _content_of(path: Path) -> bytes:
    """Return a file's bytes, read at once, so that what fails later is the decoder alone."""
    try:
        if not path.is_file():
            # A pipe or a device would be waited for, for ever.
            raise SkippedImageError(SkipReason.UNREADABLE)
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise SkippedImageError(SkipReason.TOO_MANY_BYTES)
        return path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror or error}; mend that, or take the file away"
        ) from error
    except MemoryError:
        raise SourceError(
            f"there is not enough memory to read {path}; pack with fewer --processes"
        ) from None


def square(image: Image.Image, size: int) -> Pixels:
    """Scale the shorter side to `size` and take the centre square (paper section 2).

    Both at once: the centre square of the shorter side, in exact source coordinates, is resampled
    with Lanczos' filter, widened when scaling down. Returns uint8 (size, size, 3), RGB.
    Raises SkippedImageError where nothing tells what is white.
    """
    upright = _with_bytes(ImageOps.exif_transpose(image), image.format)
    if upright.mode not in ("L", "RGB"):
        upright = upright.convert("RGB")
    edge = min(upright.size)
    left, top = (upright.width - edge) / 2, (upright.height - edge) / 2
    scaled = upright.resize(
        (size, size), Image.Resampling.LANCZOS, box=(left, top, left + edge, top + edge)
    )
    return np.asarray(scaled.convert("RGB"))


def _with_bytes(image: Image.Image, file_format: str | None) -> Image.Image:
    """Turn grey values of 16 bits into 8; Pillow's own conversion would make most of them white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PPM"):
        # The high byte, as Pillow takes it of colours of 16 bits. Pillow scales PPM to 16 bits.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise SkippedImageError(SkipReason.UNKNOWN_WHITE)
    return image


def encode_jpeg(image: Pixels, quality: int) -> bytes:
    """Encode with colour at half resolution, as photographs are: smaller, and quicker to read."""
    encoded = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=quality, colorsubsampling="420"
    )
    return bytes(encoded)
