"""The Range header (RFC 9110, section 14): one range of bytes. Pure."""

import re

_ONE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)", re.ASCII)


class UnsatisfiableRangeError(ValueError):
    """A range begins where there is nothing, or asks for nothing."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"there are {size_bytes} bytes; ask for a range that begins before that")
        self.size_bytes = size_bytes


def parse_range(header: str, size_bytes: int) -> tuple[int, int] | None:
    """Return the bytes [start, stop) that are asked for.

    None: several ranges, another unit, or what cannot be made out, for which everything is sent.
    Raises UnsatisfiableRangeError.
    """
    match = _ONE.fullmatch(header.strip())
    if match is None or len(header) > 100:
        return None
    first, last = match.groups()
    if first:
        start, stop = int(first), int(last) + 1 if last else size_bytes
        if last and stop <= start:
            return None
    elif last:
        start, stop = max(size_bytes - int(last), 0), size_bytes
    else:
        return None
    if start >= size_bytes:
        raise UnsatisfiableRangeError(size_bytes)
    return start, min(stop, size_bytes)
