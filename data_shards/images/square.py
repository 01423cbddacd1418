"""From any image to the paper's square (section 2)."""

import numpy as np

from data_shards.arrays import Pixels
from data_shards.images.image_file import ImageFile, open_image
from data_shards.images.upright import upright
from data_shards.kernels.resample import Box, resample

# By what libjpeg-turbo divides the sides of an image as it decodes it, in vectors.
_DIVISORS = (8, 4, 2)
# Measured on 125 photographs, none of them blurred, of which squares of 32 to 96 pixels were made:
# where decoding at a smaller size leaves twice the square's edge or more, the square is within 42
# to 57 dB (mean 50) of the one from all pixels; where 1.5 times the edge, within 36 dB.
_EDGES_LEFT = 2


def square_of(image: bytes | memoryview | Pixels, size: int) -> Pixels:
    """Scale the shorter side to `size` and take the centre square (paper section 2).

    Both at once: the centre square of the shorter side, in exact source coordinates, is resampled
    with Lanczos' filter, widened when scaling down. A JPEG that is large beside its square is
    decoded at a half, a quarter or an eighth of its size, which is the same to the eye.

    Of a file's bytes or of pixels, uint8 (h, w, 3) RGB or (h, w) grey; returns uint8
    (size, size, 3), RGB, the same bits on any machine. Raises SkippedImageError if the bytes are
    no image, or one that nothing tells the white of; MemoryError.
    """
    if isinstance(image, np.ndarray):
        height, width = image.shape[:2]
        return resample(with_colours(image), _centre((width, height)), size)
    with open_image(image) as file:
        square = square_of_plain_jpeg(file, size)
        if square is None:
            decoded = file.decoded()
            square = resample(decoded, _centre(decoded.size), size)
        return upright(square, file.orientation())


def square_of_plain_jpeg(file: ImageFile, size: int) -> Pixels | None:
    """Return the square of a plain JPEG as its pixels lie; None for other files."""
    divisor = divisor_for(min(file.size), size)
    pixels = file.plain_jpeg(divisor)
    return None if pixels is None else resample(pixels, _centre(file.size, divisor), size)


def with_colours(pixels: Pixels) -> Pixels:
    """Return uint8 (h, w, 3), RGB, of that or of grey, (h, w)."""
    # (h, w) -> (h, w, 1) -> (h, w, 3)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def divisor_for(shorter_side: int, size: int) -> int:
    """Return by what the sides of a JPEG may be divided as it is decoded: 1, 2, 4 or 8."""
    enough = [d for d in _DIVISORS if shorter_side >= d * _EDGES_LEFT * size]
    return max(enough, default=1)


def _centre(size: tuple[int, int], divisor: int = 1) -> Box:
    """Return the centre square of an image (width, height) that was divided."""
    width, height = size
    edge = min(size)
    left, top = (width - edge) / 2, (height - edge) / 2
    return (left / divisor, top / divisor, (left + edge) / divisor, (top + edge) / divisor)
