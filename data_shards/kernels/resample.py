"""Part of an image to a square, by Lanczos' filter."""

import ctypes
import functools
import math
from pathlib import Path

import numpy as np
from PIL import Image

from data_shards.arrays import Pixels
from data_shards.kernels.build import load_kernel

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels, which it may cut."""

# Lanczos' filter reaches so many pixels to each side: of the image's or of the square's, whichever
# are larger.
_RADIUS = 3
# Photographs come in few sizes. The weights for one side of 10,000 pixels take a quarter of a MB.
_NUM_AXES_KEPT = 64


def resample(image: Pixels | Image.Image, box: Box, size: int) -> Pixels:
    """Return uint8 (size, size, 3) of what lies in the box of an RGB image, uint8 (h, w, 3).

    First across, then down, each bit for bit as Pillow does it. It does so itself where there is
    no compiler, and with what it has decoded: to hand that over would take as much memory again.
    """
    library = _library()
    if isinstance(image, Image.Image):
        return _by_pillow(image, box, size)
    if library is None:
        return _by_pillow(Image.fromarray(image), box, size)
    height, width, channels = image.shape
    assert image.dtype == np.uint8
    assert channels == 3
    contiguous = np.ascontiguousarray(image)
    left, top, right, bottom = box
    across, down = _taps(width, left, right, size), _taps(height, top, bottom, size)
    square = np.empty((size, size, 3), np.uint8)
    library.resample_rgb(
        contiguous.ctypes.data,
        width,
        ctypes.byref(across.pointers),
        ctypes.byref(down.pointers),
        square.ctypes.data,
    )
    return square


def _by_pillow(image: Image.Image, box: Box, size: int) -> Pixels:
    assert image.mode == "RGB"
    left, top, right, bottom = box
    # One after the other: which of both Pillow has first depends on its version and on the image.
    lanczos = Image.Resampling.LANCZOS
    narrow = image.resize((size, image.height), lanczos, box=(left, 0, right, image.height))
    return np.asarray(narrow.resize((size, size), lanczos, box=(0, top, size, bottom)))


class _Pointers(ctypes.Structure):
    """The kernel's `Taps`."""

    _fields_ = (
        ("first", ctypes.c_void_p),
        ("count", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("width", ctypes.c_int64),
    )


class _Taps:
    """Which pixels of an axis make each of the square's, int32 (size), and their weights."""

    def __init__(self, size: int, width: int) -> None:
        self.first = np.empty(size, np.int32)
        self.count = np.empty(size, np.int32)
        self.weights = np.empty((size, width), np.int32)
        arrays = (self.first, self.count, self.weights)
        self.pointers = _Pointers(*(array.ctypes.data for array in arrays), size, width)


@functools.lru_cache(maxsize=_NUM_AXES_KEPT)
def _taps(length: int, start: float, end: float, size: int) -> _Taps:
    """Return the weights for the part [start, end) of an axis of `length` pixels."""
    assert 0 <= start < end <= length
    radius = math.ceil(_RADIUS * max((end - start) / size, 1.0))
    taps = _Taps(size, 2 * radius + 1)
    library = _library()
    assert library is not None
    library.lanczos_taps(length, start, end, ctypes.byref(taps.pointers))
    return taps


@functools.cache
def _library() -> ctypes.CDLL | None:
    """Return the kernel; no product and sum of its weights may be rounded as one."""
    source = Path(__file__).with_suffix(".cpp")
    library = load_kernel(source, options=("-ffp-contract=off",))
    if library is not None:
        address, number = ctypes.c_void_p, ctypes.c_int64
        library.lanczos_taps.restype = None
        library.lanczos_taps.argtypes = (number, ctypes.c_float, ctypes.c_float, address)
        library.resample_rgb.restype = None
        library.resample_rgb.argtypes = (address, number, address, address, address)
    return library
