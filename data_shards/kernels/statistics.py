"""Sums over the pixels of images."""

import ctypes
import functools
from pathlib import Path

import numpy as np

from data_shards.arrays import Int64s, Pixels
from data_shards.kernels.build import load_kernel

# Where in (3, 3) the kernel's six products belong; the rest mirrors them.
_ROWS, _COLUMNS = np.triu_indices(3)


def add_pixels(pixels: Pixels, image: Int64s) -> Int64s:
    """Add uint8 (h, w, 3) to `image`, in place; return the sum of r·rᵀ over its pixels r, (3, 3).

    Exact, with a compiler and without.
    """
    assert pixels.dtype == np.uint8
    assert image.dtype == np.int64
    assert pixels.shape == image.shape
    library = _library()
    if library is None:
        image += pixels
        # (h, w, 3) -> (h·w, 3); the sums stay far below 2**53.
        rows = pixels.reshape(-1, 3).astype(np.float64)
        return (rows.T @ rows).astype(np.int64)
    assert image.flags.c_contiguous
    contiguous = np.ascontiguousarray(pixels)
    sums = np.zeros(len(_ROWS), np.int64)
    library.add_pixels(
        contiguous.ctypes.data, pixels.size // 3, image.ctypes.data, sums.ctypes.data
    )
    products = np.empty((3, 3), np.int64)
    products[_ROWS, _COLUMNS] = products[_COLUMNS, _ROWS] = sums
    return products


@functools.cache
def _library() -> ctypes.CDLL | None:
    library = load_kernel(Path(__file__).with_suffix(".cpp"))
    if library is not None:
        address = ctypes.c_void_p
        library.add_pixels.restype = None
        library.add_pixels.argtypes = (address, ctypes.c_int64, address, address)
    return library
