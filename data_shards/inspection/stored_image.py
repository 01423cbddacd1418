"""Decoding one stored image, as a loader would."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from data_shards.arrays import Pixels
from data_shards.errors import StorageDownError, StorageError
from data_shards.feeding.corrupt import CorruptImageError, CorruptReason
from data_shards.feeding.decode import Decoder


class UnreadableImageError(Exception):
    """One image of a set cannot be shown; the message says why."""


@contextmanager
def telling_why(shard: str) -> Iterator[None]:
    """Raise UnreadableImageError for what is wrong with one image or its shard alone."""
    try:
        yield
    except CorruptImageError as error:
        raise UnreadableImageError(f"{error.reason}: {error.detail}") from error
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{shard} is missing") from error
    except StorageDownError:
        raise
    except StorageError as error:
        raise UnreadableImageError(str(error)) from error


def read_stored(decoder: Decoder, size_bytes: int, read: Callable[[], bytes]) -> memoryview:
    """Return a stored image.

    Raises CorruptImageError, for one that has too many bytes before it is read; what `read` does.
    """
    if size_bytes > decoder.max_bytes:
        raise CorruptImageError(
            CorruptReason.TOO_MANY_BYTES, f"has {size_bytes:,} bytes, over {decoder.max_bytes:,}"
        )
    return memoryview(read())


def decode_stored(decoder: Decoder, size_bytes: int, read: Callable[[], bytes]) -> Pixels:
    """Return uint8 (image_size, image_size, 3), valid until the decoder's next image.

    Raises CorruptImageError; what `read` does.
    """
    return decoder.decode(read_stored(decoder, size_bytes, read))
