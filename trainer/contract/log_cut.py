"""A log that is cut: its beginning, a line that says how much is gone, and its end. Pure."""

import re

MAX_LOG_BYTES = 64 << 20
"""Of the beginning, the line included."""
NOTICE_BYTES = 100
"""Of that line and the newlines around it, however much is gone."""

_NOTICE = re.compile(
    rb"\n--- (?:at least )?([0-9]{1,3}(?:,[0-9]{3}){0,6}) "
    rb"bytes that were printed here are cut out -+\n"
)


def notice(gone_bytes: int, *, at_least: bool) -> bytes:
    """Return what is written where a log is cut; `at_least`: there may be more that is gone."""
    count = f"{'at least ' if at_least else ''}{gone_bytes:,}"
    said = f"\n--- {count} bytes that were printed here are cut out "
    return f"{said:-<{NOTICE_BYTES - 1}}\n".encode()


def told_bytes(content: bytes) -> int:
    """Return how much is gone by the first such line in some of a log; 0 where there is none."""
    found = _NOTICE.search(content)
    return 0 if found is None else int(found[1].replace(b",", b""))
