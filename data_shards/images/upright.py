"""Turning images as their metadata tell."""

import numpy as np

from data_shards.arrays import Pixels


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn and mirror (h, w, 3) from how EXIF's orientation, 1 to 8, says it lies to upright.

    The number says where the first row and the first column of what was stored are to be seen.
    """
    if orientation >= 5:
        # The first row is seen at a side: (h, w, 3) -> (w, h, 3).
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        # What is now first is seen at the bottom.
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
