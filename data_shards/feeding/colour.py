"""The PCA colour of section 4.1: how far an image's pixels are shifted; pure."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from data_shards.manifest import RgbPca

Unit = Literal["variance", "deviation"]
"""What α is a multiple of, for each component: its variance, of pixels on 0-1, or its standard
deviation."""


def colour_axes(pca: RgbPca, strength: float, unit: Unit) -> npt.NDArray[np.float32]:
    """Return (3, 3): row i is the shift in RGB, on 0-255, for a standard normal of 1.

    `strength` is the standard deviation of α. Shifts are (n, 3) normals @ axes.
    """
    variances = np.asarray(pca.eigenvalues)
    # A variance on 0-255 is 1 / 255² of it on 0-1, and the shift there is 255 times as far here.
    lengths = np.sqrt(variances) if unit == "deviation" else variances / 255
    axes = strength * lengths[:, None] * np.asarray(pca.eigenvectors)
    return np.asarray(axes, dtype=np.float32)
