"""One stored image to one crop of pixels."""

import math
from typing import Literal

import numpy as np
import simplejpeg

from data_shards.arrays import Pixels


class CorruptImageError(Exception):
    """The bytes are not the image the manifest promises."""


class Decoder:
    """Decodes into one reused image, and crops from it."""

    def __init__(self, encoding: Literal["jpeg", "raw"], image_size: int) -> None:
        self._encoding = encoding
        self._image: Pixels = np.empty((image_size, image_size, 3), dtype=np.uint8)

    def decode(self, data: memoryview, *, bgr: bool = False) -> Pixels:
        """Return uint8 (image_size, image_size, 3), RGB or BGR; valid until the next call.

        Raises CorruptImageError with the reason. An image of another size is not even decoded
        if it is larger.
        """
        if self._encoding == "raw":
            if len(data) != self._image.size:
                raise CorruptImageError(f"has {len(data)} bytes, not {self._image.size}")
            stored = np.frombuffer(data, dtype=np.uint8).reshape(self._image.shape)
            if not bgr:
                return stored
            for channel in range(3):
                self._image[..., channel] = stored[..., 2 - channel]
            return self._image
        try:
            colours = "BGR" if bgr else "RGB"
            image = simplejpeg.decode_jpeg(data, colorspace=colours, buffer=self._image)
        except ValueError as error:
            raise CorruptImageError(str(error)) from error
        if image.shape != self._image.shape:
            height, width, _ = image.shape
            raise CorruptImageError(f"is {width}×{height}, not {len(self._image)} square")
        return self._image

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
