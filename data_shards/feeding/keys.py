"""The key by which a sample is known in its shard, from the tar's headers; pure."""

from contextlib import suppress

from data_shards.shards.index import TAR_BLOCK

# POSIX's ustar header, of which GNU's differs in what is not read here.
_NAME, _PREFIX = slice(0, 100), slice(345, 500)
_SIZE, _CHECKSUM, _TYPE, _MAGIC = slice(124, 136), slice(148, 156), slice(156, 157), slice(257, 262)

KEY_BYTES = 3 * TAR_BLOCK
"""Before a member's content: its header, and before it one of a longer name with a block of it."""


def key_of(before: bytes) -> str | None:
    """Return a member's key, from the bytes before its content; None if there is no tar's header.

    As WebDataset has it: folders, and the file's name up to its first full stop. `before` are
    KEY_BYTES, or fewer at the beginning of the tar. A path that takes more than a block, some 500
    characters, is given as far as the header has it. What cannot be printed is escaped: a key is
    shown in terminals.
    """
    header = before[-TAR_BLOCK:]
    if not _is_header(header):
        return None
    name = _long_name(before[:-TAR_BLOCK]) or _name(header)
    folders, slash, file = name.rpartition(b"/")
    key = folders + slash + file.split(b".", 1)[0]
    text = key.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _name(header: bytes) -> bytes:
    name = _text(header[_NAME])
    # GNU's magic goes on with a space, and its prefix holds other things.
    prefix = _text(header[_PREFIX]) if header[_MAGIC.stop] == 0 else b""
    return prefix + b"/" + name if prefix else name


def _long_name(before: bytes) -> bytes | None:
    """Return the name in two blocks before a header, if they are a header of that kind."""
    header, content = before[-2 * TAR_BLOCK : -TAR_BLOCK], before[-TAR_BLOCK:]
    if not _is_header(header):
        return None
    with suppress(ValueError):
        content = content[: _octal(header[_SIZE])]
        if header[_TYPE] == b"L":
            return _text(content)
        if header[_TYPE] == b"x":
            return _path_of_pax(content)
    return None


def _path_of_pax(content: bytes) -> bytes | None:
    """Return the path among pax's records, each a length, a space, NAME=VALUE and a newline.

    Raises ValueError.
    """
    while content:
        length, _, _ = content.partition(b" ")
        if int(length) < 1:
            raise ValueError
        record, content = content[: int(length)], content[int(length) :]
        name, _, value = record[len(length) + 1 : -1].partition(b"=")
        if name == b"path":
            return value
    return None


def _is_header(block: bytes) -> bool:
    if len(block) != TAR_BLOCK or block[_MAGIC] != b"ustar":
        return False
    with suppress(ValueError):
        # Of the header with spaces where the sum stands.
        return _octal(block[_CHECKSUM]) == sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")
    return False


def _octal(field: bytes) -> int:
    return int(_text(field).strip() or b"0", 8)


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]
