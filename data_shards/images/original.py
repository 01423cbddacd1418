"""From any image to what is stored of it where it is not made a square."""

from typing import NamedTuple

import numpy as np

from data_shards.arrays import Pixels
from data_shards.images.encode import encode_jpeg
from data_shards.images.image_file import open_image
from data_shards.images.skip import SkippedImageError, SkipReason
from data_shards.images.square import square_of, square_of_plain_jpeg, with_colours
from data_shards.images.upright import upright

# What libjpeg allows a side.
_MAX_SIDE = 65_500


class Original(NamedTuple):
    """An image at its own size."""

    file: bytes
    """A JPEG, upright, of RGB or grey."""
    square: Pixels
    """uint8 (size, size, 3), RGB: what `square_of` makes of the file."""


def original_of(image: bytes | memoryview | Pixels, size: int, quality: int) -> Original:
    """Return a JPEG of the image, of its size, and the square of it, whose edge is `size`.

    It is the file itself if that is a plain JPEG of RGB or grey, upright, with nothing to warn of;
    else a new one, RGB, of this quality. Raises what `square_of` does; SkippedImageError too if
    the image is longer than a JPEG can be.
    """
    if isinstance(image, np.ndarray):
        file = _encoded(with_colours(image), quality)
    else:
        with open_image(image) as opened:
            square = square_of_plain_jpeg(opened, size)
            if square is not None and opened.orientation() == 1:
                return Original(bytes(image), square)
            decoded = np.asarray(opened.decoded())
            file = _encoded(upright(decoded, opened.orientation()), quality)
    return Original(file, square_of(file, size))


def _encoded(pixels: Pixels, quality: int) -> bytes:
    if max(pixels.shape) > _MAX_SIDE:
        raise SkippedImageError(SkipReason.TOO_MANY_PIXELS)
    return encode_jpeg(pixels, quality)
