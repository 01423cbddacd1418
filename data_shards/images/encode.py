"""From the square to bytes."""

import numpy as np
import simplejpeg

from data_shards.arrays import Pixels


def encode_jpeg(image: Pixels, quality: int) -> bytes:
    """Encode with colour at half resolution, as photographs are: smaller, and quicker to read."""
    encoded = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=quality, colorsubsampling="420"
    )
    return bytes(encoded)
