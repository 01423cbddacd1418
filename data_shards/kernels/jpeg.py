"""Crops of a batch's JPEGs by a kernel: quicker than libjpeg-turbo, with its very bits."""

import ctypes
import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_shards.arrays import Bools, Int64s, Pixels
from data_shards.kernels.build import load_kernel, processor_features


def decode_crops(
    stored: Mapping[int, memoryview], size: int, offsets: Int64s, mirrored: Bools, out: Pixels
) -> frozenset[int]:
    """Fill places of `out`, uint8 (n, c, c, 3), with crops of JPEGs of size × size pixels.

    The crop of a place is at `offsets`, (n, 2) rows and columns, and `mirrored`, (n,), or not.
    Returns the places that are filled, with the very bits of simplejpeg. All others are to be left
    to it and may hold anything: what is broken or of another kind than `encode_jpeg` makes, or
    everything where there is no compiler, or no processor that is known to be quicker so.
    """
    library = _library()
    if library is None or not stored:
        return frozenset()
    num_places, edge, _, _ = out.shape
    assert out.shape == (num_places, edge, edge, 3)
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    assert out.flags.writeable
    places = np.fromiter(stored, dtype=np.int64)
    corners = offsets[places]
    assert ((places >= 0) & (places < num_places)).all()
    assert ((corners >= 0) & (corners + edge <= size)).all()
    # Held until the kernel is done: an address keeps no memory.
    images = [np.frombuffer(data, dtype=np.uint8) for data in stored.values()]
    # (m, 6), a row for each of the kernel's `Crop`s.
    crops = np.empty((len(images), 6), dtype=np.int64)
    crops[:, 0] = [image.__array_interface__["data"][0] for image in images]
    crops[:, 1] = [image.size for image in images]
    crops[:, 2] = places
    crops[:, 3:5] = corners
    crops[:, 5] = mirrored[places]
    done = np.empty(len(images), dtype=np.bool_)
    library.decode_crops(
        crops.ctypes.data, len(crops), size, edge, out.ctypes.data, done.ctypes.data
    )
    return frozenset(places[done].tolist())


@functools.cache
def _library() -> ctypes.CDLL | None:
    # Measured: with vectors of SSE2 it takes twice the time of libjpeg-turbo; none other is known.
    if "avx2" not in processor_features().split():
        return None
    library = load_kernel(Path(__file__).with_suffix(".cpp"))
    if library is not None:
        address, number = ctypes.c_void_p, ctypes.c_int64
        library.decode_crops.restype = None
        library.decode_crops.argtypes = (address, number, number, number, address, address)
    return library
