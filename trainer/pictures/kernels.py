"""conv1's kernels as the paper's Fig. 3 shows them; pure."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from data_shards.arrays import Pixels

# Pixels of the picture for one of a kernel, and between two kernels; chosen by eye.
ENLARGEMENT = 4
GAP = 4
# Grid cells are four wide for three high, as Fig. 3's 48 of a tower and its neighbour are.
_WIDTH_TO_HEIGHT = 4 / 3
# A row that is full looks better than a grid of just that shape, as long as it is not much wider.
_WIDEST = 1.6


def columns_of(num_kernels: int) -> int:
    """Return how many kernels a row has: 8 of 48, so that two towers are Fig. 3's rows of 16."""
    wanted = min(num_kernels, math.ceil(math.sqrt(num_kernels * _WIDTH_TO_HEIGHT)))
    full = next(n for n in range(wanted, num_kernels + 1) if num_kernels % n == 0)
    return full if full <= _WIDEST * wanted else wanted


def scaled(kernels: npt.NDArray[np.float32]) -> Pixels:
    """Scale each kernel to its own range: (n, 3, k, k) -> uint8 (n, k, k, 3).

    One without a range, or with a weight that is not finite, is grey.
    """
    # (n, 3, k, k) -> (n, k, k, 3)
    last = kernels.transpose(0, 2, 3, 1).astype(np.float64)
    low, high = (of(last, axis=(1, 2, 3), keepdims=True) for of in (np.min, np.max))
    has_range = np.isfinite(low) & np.isfinite(high) & (high > low)
    shares = np.full(last.shape, 0.5)
    np.divide(last - np.where(has_range, low, 0), high - low, out=shares, where=has_range)
    pixels: Pixels = np.rint(255 * shares).astype(np.uint8)
    return pixels


def draw_tower(kernels: npt.NDArray[np.float32]) -> Image.Image:
    """Draw (n, 3, k, k) in rows, each pixel a whole square, with nothing around and between."""
    num_kernels, _, edge, _ = kernels.shape
    columns = columns_of(num_kernels)
    rows = -(-num_kernels // columns)
    size = edge * ENLARGEMENT
    pitch = size + GAP
    sheet = np.zeros((rows * pitch - GAP, columns * pitch - GAP, 4), dtype=np.uint8)
    # (n, k, k, 3) -> (n, size, size, 3)
    enlarged = scaled(kernels).repeat(ENLARGEMENT, axis=1).repeat(ENLARGEMENT, axis=2)
    for number, kernel in enumerate(enlarged):
        row, column = divmod(number, columns)
        place = sheet[row * pitch : row * pitch + size, column * pitch : column * pitch + size]
        place[..., :3] = kernel
        place[..., 3] = 255
    return Image.fromarray(sheet)
