"""Where the files of any tar lie, and the samples of ours. Nothing is ever extracted."""

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from data_shards.shards.index import TAR_BLOCK

SUFFIX_OF_ENCODING = {"jpeg": "jpg", "raw": "rgb"}

_FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE)
# What else a member may be; none of these has bytes of its own that are read as they lie.
_REFUSED_TYPES = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
# No label has more digits.
_MAX_LABEL_BYTES = 20
_END_MARK = bytes(TAR_BLOCK)
# Control characters, and those that turn the writing round: a name is shown to people.
_ODD_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class TarLayoutError(Exception):
    """A tar is not laid out as it must be; says where, and what is wrong with it."""


class TarMember(NamedTuple):
    """A file in a tar."""

    name: str
    """Path with `/`, no part of which is empty, `.` or `..`; bytes that are no UTF-8 as
    os.fsdecode gives them."""
    offset: int
    """Of its first byte, from the start of the file that was walked."""
    size_bytes: int


class TarSample(NamedTuple):
    """One sample: the image's bytes within the tar, and its label."""

    offset: int
    size_bytes: int
    label: int


@dataclass(frozen=True)
class TarCaps:
    """What a tar may ask of its reader (assumed: far beyond any data set of images)."""

    member_bytes: int = 1 << 30
    header_bytes: int = 1 << 20
    """Of a pax header or a long name, which are read whole."""
    name_bytes: int = 4096
    members: int = 1 << 24


_DEFAULT_CAPS = TarCaps()


@dataclass
class _Extension:
    """What the headers before a member say of it."""

    name: str | None = None
    size_bytes: int | None = None
    num_headers: int = 0


def walk_tar(
    file: BinaryIO, *, begin: int = 0, end: int | None = None, caps: TarCaps = _DEFAULT_CAPS
) -> Iterator[TarMember]:
    """Yield the files in a tar, in its order; folders are passed over.

    The tar lies in `file`, which can seek and may be used between two members, from byte `begin`
    up to `end` (None: its last). Headers alone are read. Raises TarLayoutError for a link, a
    device, a pipe, a sparse file, a name that leads elsewhere or cannot be shown, a broken header,
    an archive that was cut short, or more than `caps` allow.
    """
    end = file.seek(0, os.SEEK_END) if end is None else end
    position, count, extension = begin, 0, _Extension()
    while (header := _read(file, position, TAR_BLOCK, end)) != _END_MARK:
        count += 1
        if count > caps.members:
            raise TarLayoutError(f"holds more than {caps.members} members")
        info = _parsed(header, position, is_first=position == begin)
        content, size = position + TAR_BLOCK, info.size
        if _is_extension(info):
            if size > caps.header_bytes:
                raise TarLayoutError(f"has a header of {size} bytes at byte {position}")
            _extend(extension, info, _read(file, content, size, end), position)
        else:
            name = _checked_name(info.name if extension.name is None else extension.name, position)
            if len(os.fsencode(name)) > caps.name_bytes:
                raise TarLayoutError(f"has a name of over {caps.name_bytes} bytes at {position}")
            size = size if extension.size_bytes is None else extension.size_bytes
            extension = _Extension()
            if info.isdir():
                # As every tar program has it: whatever size a folder claims, it has no bytes.
                size = 0
            else:
                _check_file(info, name, position, size, caps)
                if size > end - content:
                    raise TarLayoutError(
                        f"is cut short: it ends at byte {end}, within {_shown(name)}, which has "
                        f"{size} bytes from {content} on"
                    )
                yield TarMember(name, content, size)
        position = content + -(-size // TAR_BLOCK) * TAR_BLOCK
    if extension.num_headers:
        raise TarLayoutError(f"has a header at its end, byte {position}, that belongs to no member")


def samples_of_tar(file: BinaryIO, suffix: str) -> list[TarSample]:
    """List a tar's samples in order, from its headers and labels.

    Raises TarLayoutError if it does not hold KEY.cls and KEY.jpg (or KEY.rgb: KEY and `suffix`) in
    turn, or holds what no tar may; OSError.
    """
    samples: list[TarSample] = []
    members = walk_tar(file)
    for cls in members:
        image = next(members, None)
        key = cls.name.removesuffix(".cls")
        if image is None or image.name != f"{key}.{suffix}" or cls.name != f"{key}.cls":
            raise TarLayoutError(f"{cls.name} is not followed by its image")
        if cls.size_bytes > _MAX_LABEL_BYTES:
            raise TarLayoutError(f"{cls.name} has {cls.size_bytes} bytes, too many for a label")
        file.seek(cls.offset)
        try:
            label = int(file.read(cls.size_bytes))
        except ValueError as error:
            raise TarLayoutError(str(error)) from error
        samples.append(TarSample(image.offset, image.size_bytes, label))
    return samples


def _read(file: BinaryIO, position: int, size: int, end: int) -> bytes:
    content = b""
    if size <= end - position:
        file.seek(position)
        content = file.read(size)
    if len(content) < size:
        raise TarLayoutError(f"is cut short: it ends at byte {end}, without the mark of its end")
    return content


def _parsed(header: bytes, position: int, *, is_first: bool) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        if is_first:
            raise TarLayoutError("is no tar") from None
        raise TarLayoutError(f"has a broken header at byte {position}: {error}") from None
    if info.size < 0:
        raise TarLayoutError(f"has a header with a negative size at byte {position}")
    return info


def _is_extension(info: tarfile.TarInfo) -> bool:
    return info.type in (
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    )


def _extend(extension: _Extension, info: tarfile.TarInfo, content: bytes, position: int) -> None:
    """Take up what a header says of the member after it."""
    if info.type == tarfile.GNUTYPE_LONGNAME:
        records = {"path": content.rstrip(b"\0")}
    elif info.type == tarfile.GNUTYPE_LONGLINK:
        # The link it belongs to will be refused by its own name.
        records = {}
    else:
        records = _pax_records(content, position)
    if any(key.startswith("GNU.sparse") for key in records):
        raise TarLayoutError(f"holds a sparse file at byte {position}")
    if info.type == tarfile.XGLTYPE:
        if records.keys() & {"path", "size"}:
            raise TarLayoutError(f"gives all its members one name or size at byte {position}")
        return
    extension.num_headers += 1
    if (path := records.get("path")) is not None:
        if extension.name is not None:
            raise TarLayoutError(f"gives a member two names at byte {position}")
        extension.name = os.fsdecode(path)
    if (size := records.get("size")) is not None:
        if not re.fullmatch(rb"[0-9]{1,19}", size) or extension.size_bytes is not None:
            raise TarLayoutError(f"has a broken size in the header at byte {position}")
        extension.size_bytes = int(size)


def _pax_records(content: bytes, position: int) -> dict[str, bytes]:
    """Return the records of a pax header; each is LENGTH, a space, KEY=VALUE and a newline."""
    records: dict[str, bytes] = {}
    place = 0
    while place < len(content):
        match = re.compile(rb"([1-9][0-9]{0,6}) ([^=\n]+)=").match(content, place)
        end = place + int(match[1]) if match else 0
        if match is None or end <= match.end() or content[end - 1 : end] != b"\n":
            raise TarLayoutError(f"has a broken pax header at byte {position}")
        records[match[2].decode("utf-8", "replace")] = content[match.end() : end - 1]
        place = end
    return records


def _checked_name(name: str, position: int) -> str:
    """Return a member's path without parts that say nothing, if it stays below the tar's root."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if _ODD_CHARACTER.search(name):
        problem = "holds a control character"
    elif name.startswith("/"):
        problem = "is absolute"
    elif ".." in parts:
        problem = "leads out of it"
    else:
        return "/".join(parts)
    raise TarLayoutError(f"has a member at byte {position} whose name {_shown(name)} {problem}")


def _check_file(info: tarfile.TarInfo, name: str, position: int, size: int, caps: TarCaps) -> None:
    if info.type not in _FILE_TYPES:
        kind = _REFUSED_TYPES.get(info.type, f"of an unknown kind, {info.type!r}")
        raise TarLayoutError(f"{_shown(name)} at byte {position} is no regular file but {kind}")
    if not name:
        raise TarLayoutError(f"has a file without a name at byte {position}")
    if size > caps.member_bytes:
        raise TarLayoutError(
            f"{_shown(name)} at byte {position} has {size} bytes, more than {caps.member_bytes}"
        )


def _shown(name: str) -> str:
    """Return a name as people can bear it: not long, and with odd characters escaped."""
    readable = os.fsencode(name[:200]).decode("utf-8", "backslashreplace")
    return _ODD_CHARACTER.sub(lambda odd: odd[0].encode("unicode_escape").decode(), readable)
