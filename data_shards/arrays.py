"""Types of arrays."""

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""(..., height, width, 3), RGB, or (height, width), grey."""
Int64s = npt.NDArray[np.int64]
Uint64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
