"""Mean image and RGB PCA of a set of squares, exact to the last bit before the final rounding."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from data_shards.arrays import Int64s, Pixels
from data_shards.kernels.statistics import add_pixels
from data_shards.manifest import RgbPca, Triple


@dataclass
class PixelSums:
    """Integer sums over images; they add up the same in any order."""

    num_images: int
    image: Int64s
    """(size, size, 3) sum of the images."""
    products: Int64s
    """(3, 3) sum of r·rᵀ over all pixels r, RGB."""

    @classmethod
    def zero(cls, size: int) -> Self:
        """Return the sums over no images."""
        return cls(0, np.zeros((size, size, 3), np.int64), np.zeros((3, 3), np.int64))

    def add_image(self, image: Pixels) -> None:
        """Count one image, uint8 (size, size, 3)."""
        self.num_images += 1
        self.products += add_pixels(image, self.image)

    def add(self, other: "PixelSums") -> None:
        """Count another set of images."""
        self.num_images += other.num_images
        self.image += other.image
        self.products += other.products

    def mean_image(self) -> npt.NDArray[np.float32]:
        """Return the mean, float32 (size, size, 3) on 0-255 (paper section 2)."""
        return (self.image / self.num_images).astype(np.float32)

    def rgb_pca(self) -> RgbPca:
        """Return the principal components of all RGB pixels on 0-255 (paper section 4.1)."""
        num_pixels = self.num_images * self.image.shape[0] * self.image.shape[1]
        sums = [int(total) for total in self.image.sum(axis=(0, 1))]
        # n·Σ(r·rᵀ) - Σr·Σrᵀ in Python's integers, divided once: no cancellation.
        covariance = [
            [
                (num_pixels * int(self.products[i, j]) - sums[i] * sums[j]) / num_pixels**2
                for j in range(3)
            ]
            for i in range(3)
        ]
        values, columns = np.linalg.eigh(np.array(covariance))
        # eigh: ascending, eigenvectors in columns -> descending, in rows.
        rows = columns.T[::-1]
        # The sign is free; the greatest entry of each is made positive.
        greatest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
        first, second, third = (_triple(row) for row in rows * np.sign(greatest))
        return RgbPca(
            # Rounding can push the colour variance of a greyscale set just below zero.
            eigenvalues=_triple(np.maximum(values[::-1], 0.0)),
            eigenvectors=(first, second, third),
        )


def _triple(values: npt.NDArray[np.float64]) -> Triple:
    first, second, third = (float(value) for value in values)
    return first, second, third
