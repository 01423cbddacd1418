"""The key by which a sample is known in its shard, from the tar's header; pure."""

# POSIX's ustar header, of which GNU's differs in what is not read here.
_NAME, _PREFIX, _MAGIC = slice(0, 100), slice(345, 500), slice(257, 262)
_CHECKSUM = slice(148, 156)


def key_of(header: bytes) -> str | None:
    """Return the key of the member with this header, 512 bytes; None if it is no tar's header.

    As WebDataset has it: folders, and the file's name up to its first full stop. A path of more
    than 255 characters, which stands elsewhere, is given as far as the header has it. What cannot
    be printed is escaped: a key is shown in terminals.
    """
    if header[_MAGIC] != b"ustar" or not _has_its_checksum(header):
        return None
    name = _text(header[_NAME])
    # GNU's magic goes on with a space, and its prefix holds other things.
    prefix = _text(header[_PREFIX]) if header[_MAGIC.stop] == 0 else b""
    folders, slash, file = (prefix + b"/" + name if prefix else name).rpartition(b"/")
    key = folders + slash + file.split(b".", 1)[0]
    text = key.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _has_its_checksum(header: bytes) -> bool:
    try:
        stated = int(_text(header[_CHECKSUM]).strip() or b"0", 8)
    except ValueError:
        return False
    # Of the header with spaces where the sum stands.
    return stated == sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" ")
