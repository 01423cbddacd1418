"""What a driver printed, as Ray tells it: all at once, however much that is."""

import json
from collections.abc import Iterable

_COMMAND = "Running entrypoint for job "
# Of a driver that has no log of its own, which is the end of an import as a rule.
LOG_CHARACTERS = 1 << 20
# As JSON has it, where nearly all of it is text.
_LOG_BYTES = 2 * LOG_CHARACTERS


def end_of_log(chunks: Iterable[bytes]) -> str:
    """Return the end of what `{"logs": ...}` tells, and hold no more. Raises ValueError."""
    kept, is_cut = bytearray(), False
    for chunk in chunks:
        kept += chunk
        is_cut = is_cut or len(kept) > _LOG_BYTES
        del kept[:-_LOG_BYTES]
    text = kept.decode(errors="replace")
    try:
        printed = _of_cut(text) if is_cut else json.loads(text)["logs"]
    except (LookupError, TypeError) as error:
        raise ValueError(repr(error)) from error
    return without_command(str(printed or ""))[-LOG_CHARACTERS:]


def _of_cut(text: str) -> object:
    """Read an answer without its beginning, where an escape sequence may have been parted."""
    # What is left of it is text, but for a quotation mark.
    rest = text.lstrip("\\")
    try:
        return json.loads(f'"{rest.removesuffix("}")}')
    except ValueError:
        return json.loads(f'"{rest[1:].removesuffix("}")}')


def without_command(printed: str) -> str:
    """Return what is left without the line in which Ray repeats the command.

    That may come last, after what the shell has to say of a Python that is not there.
    """
    lines = printed.splitlines()
    return "\n".join(line for line in lines if not line.startswith(_COMMAND))
