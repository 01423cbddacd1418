"""Decoding one stored image, as a loader would."""

from collections.abc import Callable

from data_shards.arrays import Pixels
from data_shards.feeding.corrupt import CorruptImageError, CorruptReason
from data_shards.feeding.decode import Decoder


def decode_stored(decoder: Decoder, size_bytes: int, read: Callable[[], bytes]) -> Pixels:
    """Return uint8 (image_size, image_size, 3), valid until the decoder's next image.

    Raises CorruptImageError, for one that has too many bytes before it is read; what `read` does.
    """
    if size_bytes > decoder.max_bytes:
        raise CorruptImageError(
            CorruptReason.TOO_MANY_BYTES, f"has {size_bytes:,} bytes, over {decoder.max_bytes:,}"
        )
    return decoder.decode(memoryview(read()))
