"""Stored images to crops of pixels."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import simplejpeg
from PIL import UnidentifiedImageError

from data_shards.arrays import Bools, Int64s, Pixels
from data_shards.feeding.corrupt import CorruptImageError, CorruptReason
from data_shards.images.skip import MAX_FILE_BYTES, SkippedImageError
from data_shards.images.square import square_of
from data_shards.kernels import jpeg

_JPEG_MAGIC = b"\xff\xd8\xff"
# Noise at the best quality takes less than twice its pixels; a picture of a phone comes along.
_MAX_JPEG_BYTES_PER_PIXEL = 6
_MAX_METADATA_BYTES = 1 << 17
# A decoder may quote what it met.
_MAX_DETAIL_CHARACTERS = 200


class Decoder:
    """Decodes into one reused image, and crops from it."""

    def __init__(
        self, encoding: Literal["jpeg", "raw"], image_size: int, *, squared: bool = True
    ) -> None:
        """Take what the manifest says; `squared` False: stored images are of any size and kind."""
        self._image: Pixels = np.empty((image_size, image_size, 3), dtype=np.uint8)
        self._has_kernel = squared and encoding == "jpeg"
        if not squared:
            self._decode = self._square
            self.max_bytes = MAX_FILE_BYTES
        elif encoding == "raw":
            self._decode = self._copy
            self.max_bytes = self._image.size
        else:
            self._decode = self._decompress
            self.max_bytes = _MAX_JPEG_BYTES_PER_PIXEL * image_size**2 + _MAX_METADATA_BYTES
        """Of a stored image; what has more is not even read."""

    def decode(self, data: memoryview, *, bgr: bool = False) -> Pixels:
        """Return uint8 (image_size, image_size, 3), RGB or BGR; valid until the next call.

        Raises CorruptImageError; an image of another size, where all have one, is not even decoded
        if it is larger. And MemoryError.
        """
        return self._decode(data, bgr)

    def decode_crops(
        self, stored: Mapping[int, memoryview], offsets: Int64s, mirrored: Bools, out: Pixels
    ) -> dict[int, CorruptImageError]:
        """Fill places of `out`, uint8 (n, c, c, 3), with crops of the images stored for them.

        The crop of a place is at `offsets`, (n, 2) rows and columns, and `mirrored`, (n,), or not.
        Returns what is corrupt, by place; its pixels may be anything.
        """
        filled: frozenset[int] = frozenset()
        if self._has_kernel:
            filled = jpeg.decode_crops(stored, len(self._image), offsets, mirrored, out)
        corrupt: dict[int, CorruptImageError] = {}
        corners, mirrors = offsets.tolist(), mirrored.tolist()
        for place in stored.keys() - filled:
            row, column = corners[place]
            try:
                self.decode_crop(stored[place], out[place], row, column, mirror=mirrors[place])
            except CorruptImageError as error:
                corrupt[place] = error
        return corrupt

    def decode_crop(
        self, data: memoryview, out: Pixels, row: int, column: int, *, mirror: bool
    ) -> None:
        """Fill out, contiguous (c, c, 3) RGB, with the crop at (row, column), mirrored or not.

        Raises CorruptImageError.
        """
        image = self.decode(data, bgr=mirror)
        edge = len(out)
        if not mirror:
            out[:] = image[row : row + edge, column : column + edge]
            return
        # The bytes of a row of BGR pixels, from last to first, are the RGB pixels reflected. Whole
        # words at once, read one way round and written the other: a third of the time that
        # reversing pixels takes.
        word = math.gcd(3 * edge, 8)
        crop = np.ndarray(
            (edge, 3 * edge // word),
            dtype=f"<u{word}",
            buffer=image,
            offset=row * image.strides[0] + column * image.strides[1],
            strides=(image.strides[0], word),
        )
        out.reshape(edge, -1).view(f">u{word}")[:] = crop[:, ::-1]

    def _copy(self, data: memoryview, bgr: bool) -> Pixels:
        if len(data) != self._image.size:
            raise CorruptImageError(
                CorruptReason.WRONG_SIZE, f"has {len(data)} bytes, not {self._image.size}"
            )
        stored = np.frombuffer(data, dtype=np.uint8).reshape(self._image.shape)
        return self._reversed(stored) if bgr else stored

    def _decompress(self, data: memoryview, bgr: bool) -> Pixels:
        colours = "BGR" if bgr else "RGB"
        try:
            # Strict, as it is by default: what libjpeg only warns of, and fills with grey, fails.
            image = simplejpeg.decode_jpeg(data, colorspace=colours, buffer=self._image)
        except ValueError as error:
            raise self._why_not(data, error) from error
        if image.shape != self._image.shape:
            raise self._of_size(*image.shape[:2])
        return self._image

    def _square(self, data: memoryview, bgr: bool) -> Pixels:
        try:
            image = square_of(data, len(self._image))
        except SkippedImageError as error:
            raise corrupt_of(error) from error
        return self._reversed(image) if bgr else image

    def _reversed(self, image: Pixels) -> Pixels:
        """Return RGB as BGR, in the reused image."""
        for channel in range(3):
            self._image[..., channel] = image[..., 2 - channel]
        return self._image

    def _why_not(self, data: memoryview, error: ValueError) -> CorruptImageError:
        """Return what keeps a JPEG from being decoded into the reused image."""
        if data[: len(_JPEG_MAGIC)] != _JPEG_MAGIC:
            return CorruptImageError(CorruptReason.NOT_AN_IMAGE, "is not a JPEG")
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError:
            return CorruptImageError(CorruptReason.BROKEN, str(error))
        if (height, width) != self._image.shape[:2]:
            return self._of_size(height, width)
        return CorruptImageError(CorruptReason.BROKEN, str(error))

    def _of_size(self, height: int, width: int) -> CorruptImageError:
        return CorruptImageError(
            CorruptReason.WRONG_SIZE, f"is {width}×{height}, not {len(self._image)} square"
        )


def corrupt_of(error: SkippedImageError) -> CorruptImageError:
    """Return the same reason as one of a stored sample."""
    if isinstance(error.__cause__, UnidentifiedImageError):
        return CorruptImageError(CorruptReason.NOT_AN_IMAGE, "is no image of a known kind")
    reason = {
        "too_many_pixels": CorruptReason.TOO_MANY_PIXELS,
        "too_many_bytes": CorruptReason.TOO_MANY_BYTES,
        "unknown_white": CorruptReason.UNKNOWN_WHITE,
    }.get(error.reason, CorruptReason.BROKEN)
    said = str(error.__cause__ or error.reason)
    return CorruptImageError(reason, said[:_MAX_DETAIL_CHARACTERS])
