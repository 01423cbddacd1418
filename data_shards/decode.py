"""One stored image to one crop of pixels."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import simplejpeg

Pixels = npt.NDArray[np.uint8]


class CorruptImageError(Exception):
    """The bytes are not the image the manifest promises."""


class Decoder:
    """Decodes into one reused image, and crops from it."""

    def __init__(self, encoding: Literal["jpeg", "raw"], image_size: int) -> None:
        self._encoding = encoding
        self._image: Pixels = np.empty((image_size, image_size, 3), dtype=np.uint8)

    def decode(self, data: memoryview) -> Pixels:
        """Return uint8 (image_size, image_size, 3), RGB; valid until the next call.

        Raises CorruptImageError with the reason. An image of another size is not even decoded
        if it is larger.
        """
        shape = self._image.shape
        if self._encoding == "raw":
            if len(data) != self._image.size:
                raise CorruptImageError(f"has {len(data)} bytes, not {self._image.size}")
            return np.frombuffer(data, dtype=np.uint8).reshape(shape)
        try:
            image = simplejpeg.decode_jpeg(data, buffer=self._image)
        except ValueError as error:
            raise CorruptImageError(str(error)) from error
        if image.shape != shape:
            raise CorruptImageError(f"is {image.shape[1]}×{image.shape[0]}, not {shape[1]} square")
        return self._image


def crop_into(out: Pixels, image: Pixels, row: int, column: int, *, mirror: bool) -> None:
    """Copy the crop of out's size (c, c, 3) at (row, column), reflected left to right or not."""
    edge = out.shape[0]
    crop = image[row : row + edge, column : column + edge]
    if not mirror:
        out[:] = crop
        return
    # Channel by channel: numpy copies a reversed axis of three-byte pixels five times slower.
    for channel in range(3):
        out[..., channel] = crop[:, ::-1, channel]
