"""Edges of the network's maps: what decides whether an input is large enough. Pure arithmetic."""

# The image is padded right and bottom by 3: 224 becomes the 227 that fits 55 strides of 4.
# For any size it is the 2012 source's 1 + ceil((in - k) / stride).
INPUT_PADDING = 3

# conv1, a tower at width 1 (paper Fig. 2).
NARROWEST_LAYER = 48

_KERNEL, _STRIDE = 11, 4  # of conv1, section 3.5


def map_sizes(input_size: int) -> tuple[int, int, int, int]:
    """Return the edges behind conv1 and each pool: 224 -> 55, 27, 13, 6."""
    conv1 = (input_size + INPUT_PADDING - _KERNEL) // _STRIDE + 1
    # Either pool halves, rounding down (section 3.4).
    return conv1, conv1 // 2, conv1 // 4, conv1 // 8
