"""From any image to what is stored of it where it is not made a square."""

import numpy as np

from data_shards.arrays import Pixels
from data_shards.images.encode import encode_jpeg
from data_shards.images.image_file import open_image
from data_shards.images.skip import SkippedImageError, SkipReason
from data_shards.images.square import with_colours
from data_shards.images.upright import upright

# What libjpeg allows a side.
_MAX_SIDE = 65_500
# Whether a JPEG can be decoded shows as well, and sooner, where only an eighth of it is.
_TRIED_DIVISOR = 8


def original_of(image: bytes | memoryview | Pixels, quality: int) -> bytes:
    """Return a JPEG of the image, upright and of its size.

    It is the file itself if that is a plain JPEG of RGB or grey, upright, with nothing to warn of;
    else a new one, RGB, of this quality. Raises what `square_of` does; SkippedImageError too if
    the image is longer than a JPEG can be.
    """
    if isinstance(image, np.ndarray):
        return _encoded(with_colours(image), quality)
    with open_image(image) as file:
        plain = file.plain_jpeg(_TRIED_DIVISOR) is not None
        if plain and file.orientation() == 1:
            return bytes(image)
        decoded = np.asarray(file.decoded())
        return _encoded(upright(decoded, file.orientation()), quality)


def _encoded(pixels: Pixels, quality: int) -> bytes:
    if max(pixels.shape) > _MAX_SIDE:
        raise SkippedImageError(SkipReason.TOO_MANY_PIXELS)
    return encode_jpeg(pixels, quality)
