"""Image files of any kind: opened safely, and decoded."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO

import numpy as np
import simplejpeg
from PIL import ExifTags, Image

from data_shards.arrays import Pixels
from data_shards.images.jpeg_file import MAX_SCANS, has_too_many_scans, loss_in
from data_shards.images.skip import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    SkippedImageError,
    SkipReason,
)

# Pillow's own decoders alone. It knows others that start programs: EPS runs Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
# MPO: several JPEGs in a row, of which the first is the image.
_JPEGS = ("JPEG", "MPO")


class ImageFile:
    """A file whose header was read, and is of an image that is not too large."""

    def __init__(self, data: bytes | memoryview, image: Image.Image) -> None:
        self._data = data
        self._image = image

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, as they lie in the file."""
        return self._image.size

    def plain_jpeg(self, divisor: int = 1) -> Pixels | None:
        """Decode a JPEG of RGB or grey, bit for bit as Pillow does, in less time.

        `divisor`, of 1, 2, 4 and 8, makes both sides smaller, rounded up, from JPEG's transform
        on. Returns uint8 (h, w, 3), RGB; None for other files, and where libjpeg-turbo has
        anything to warn of: it fills with grey what is missing.
        """
        if self._image.format not in _JPEGS or self._image.mode not in ("L", "RGB"):
            return None
        width, height = self.size
        least = {"min_height": -(-height // divisor), "min_width": -(-width // divisor)}
        try:
            if simplejpeg.decode_jpeg_header(self._data)[:2] != (height, width):
                # Whoever made this means to have its size misread.
                return None
            pixels: Pixels = simplejpeg.decode_jpeg(self._data, min_factor=divisor, **least)
        except ValueError:
            return None
        assert pixels.shape == (*least.values(), 3)
        return pixels

    def decoded(self) -> Image.Image:
        """Decode a file of any kind by Pillow, to RGB. TIFFs come out upright.

        Raises SkippedImageError where nothing tells what is white, and where a part of a JPEG is
        lost; anything if the file is broken otherwise.
        """
        if self._image.format in _JPEGS:
            # Pillow hears of no warnings of libjpeg's, and would hand over what that made up.
            loss = loss_in(self._data, len(self._image.getbands()))
            if loss is not None:
                raise SkippedImageError(SkipReason.UNREADABLE) from ValueError(loss)
        image = _with_bytes(self._image)
        return image if image.mode == "RGB" else image.convert("RGB")

    def orientation(self) -> int:
        """Return how the pixels lie, once they are decoded: 1 to 8, as EXIF or XMP tells; 1: well.

        Metadata that cannot be read tell nothing.
        """
        told = 1
        with suppress(Exception):
            told = self._image.getexif().get(ExifTags.Base.Orientation, 1)
        return told if told in range(1, 9) else 1


@contextmanager
def open_image(data: bytes | memoryview) -> Iterator[ImageFile]:
    """Open an image file, by its header.

    Whatever goes wrong then or until it is closed raises SkippedImageError, MemoryError apart.
    """
    if len(data) > MAX_FILE_BYTES:
        raise SkippedImageError(SkipReason.TOO_MANY_BYTES)
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata, which is not ours to mend, and below our limit of size.
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=_FORMATS) as image:
                _refuse_bomb(data, image)
                yield ImageFile(data, image)
    except (SkippedImageError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise SkippedImageError(SkipReason.TOO_MANY_PIXELS) from None
    except Exception as error:
        # Any kind: Pillow's plugins raise whatever they meet in a broken file.
        raise SkippedImageError(SkipReason.UNREADABLE) from error


def _refuse_bomb(data: bytes | memoryview, image: Image.Image) -> None:
    """Raise SkippedImageError for what would take memory or time without measure."""
    if image.width * image.height > MAX_PIXELS:
        raise SkippedImageError(SkipReason.TOO_MANY_PIXELS)
    if image.format in _JPEGS and has_too_many_scans(data):
        why = ValueError(f"has more than {MAX_SCANS} scans")
        raise SkippedImageError(SkipReason.UNREADABLE) from why


def _with_bytes(image: Image.Image) -> Image.Image:
    """Turn grey values of 16 bits into 8; Pillow's own conversion would make most of them white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        # The high byte, as Pillow takes it of colours of 16 bits. Pillow scales PPM to 16 bits.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise SkippedImageError(SkipReason.UNKNOWN_WHITE)
    return image
