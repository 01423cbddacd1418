import io
import tarfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.shards.tar_index import (
    TarCaps,
    TarLayoutError,
    TarMember,
    walk_tar,
)
from tests.packed_tars import samples_in

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes], **options: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def header(name: str = "a", size: int = 0, kind: bytes = tarfile.REGTYPE, **fields) -> bytes:
    """One block; what tarfile would not write can be written over it."""
    info, _ = member(name, type=kind, **fields)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return header("pax", len(records), kind) + padded(records)


def record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    length = next(n for n in range(len(rest), len(rest) + 9) if len(rest) + len(str(n)) == n)
    return str(length).encode() + rest


END = bytes(1024)


def walk(content: bytes, **options) -> list[TarMember]:
    return list(walk_tar(io.BytesIO(content), **options))


NAME_PARTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/"),
    min_size=1,
    max_size=90,
).filter(lambda part: part not in (".", ".."))
NAMES = st.lists(NAME_PARTS, min_size=1, max_size=4).map("/".join)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=2000), st.booleans()), max_size=6)


@given(MEMBERS, st.sampled_from(FORMATS), st.binary(max_size=40))
def test_files_are_found_where_tarfile_put_them(members, tar_format, before):
    if tar_format == tarfile.USTAR_FORMAT:
        members = [each for each in members if len(each[0].encode()) <= 100]
    content = archive(
        *(
            member(name, type=tarfile.DIRTYPE) if is_folder else member(name, data)
            for name, data, is_folder in members
        ),
        format=tar_format,
        pax_headers={"comment": "of all"} if tar_format == tarfile.PAX_FORMAT else None,
    )
    # Within another file, which may have anything around it.
    found = walk(before + content + b"x", begin=len(before), end=len(before) + len(content))
    expected = [(name, data) for name, data, is_folder in members if not is_folder]
    assert [
        (each.name, (before + content)[each.offset : each.offset + each.size_bytes])
        for each in found
    ] == expected


@given(MEMBERS, st.sampled_from(FORMATS), st.data())
def test_an_archive_that_was_cut_short_is_never_taken_for_a_whole_one(members, tar_format, data):
    # An end mark in a file's content is no end; one within a header's padding is.
    content = archive(
        *(member(f"{number}.jpg", image) for number, (_, image, _) in enumerate(members)),
        format=tar_format,
    )
    end = sum(512 + len(padded(image)) for _, image, _ in members)
    cut = data.draw(st.integers(0, end + 511))
    with pytest.raises(TarLayoutError, match=f"cut short: it ends at byte {cut}"):
        walk(content[:cut])


@given(MEMBERS, st.integers(0), st.binary(min_size=1, max_size=600))
def test_whatever_a_tar_holds_it_is_listed_within_it_or_refused(members, place, noise):
    content = bytearray(archive(*(member(name, data) for name, data, _ in members)))
    place %= len(content)
    content[place : place + len(noise)] = noise
    try:
        found = walk(bytes(content))
    except TarLayoutError:
        return
    for each in found:
        assert 512 <= each.offset <= each.offset + each.size_bytes <= len(content)
        assert not each.name.startswith("/")
        assert ".." not in each.name.split("/")


def test_the_file_may_be_used_between_two_members():
    content = archive(member("a", b"one"), member("b", b"two"))
    file = io.BytesIO(content)
    seen = []
    for each in walk_tar(file):
        file.seek(each.offset)
        seen.append(file.read(each.size_bytes))
    assert seen == [b"one", b"two"]


def test_only_headers_are_read():
    content = archive(*(member(str(number), bytes(100_000)) for number in range(5)))
    file = mock.Mock(wraps=io.BytesIO(content))
    assert len(list(walk_tar(file))) == 5
    assert sum(call.args[0] for call in file.read.call_args_list) == 6 * 512


@pytest.mark.parametrize("name", ["./a//b/./c", "a/b/c"])
def test_parts_of_a_name_that_say_nothing_are_left_out(name):
    assert [each.name for each in walk(archive(member("./", type=b"5"), member(name)))] == ["a/b/c"]


def test_names_that_are_no_utf8_are_as_python_has_them():
    content = archive(member("a\udcff.jpg"), encoding="utf-8", errors="surrogateescape")
    assert [each.name for each in walk(content)] == ["a\udcff.jpg"]


def test_large_sizes_are_read_in_base_256():
    # As GNU tar writes those of 8 GiB and more.
    size = 9 << 30
    (found,) = walk_head(header("a", size), TarCaps(member_bytes=size))
    assert found == ("a", 512, size)
    with pytest.raises(TarLayoutError, match=f"a at byte 0 has {size} bytes, more than"):
        walk_head(header("a", size), TarCaps())


def walk_head(block: bytes, caps: TarCaps) -> list[TarMember]:
    """List a tar of one member, however large, without its bytes."""

    class Sparse(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size == 512
            return block if self.tell() == 0 else bytes(512)

    return list(walk_tar(Sparse(), end=20 << 30, caps=caps))


def test_a_size_in_a_pax_header_holds():
    content = pax(record("size", "3") + record("path", "é/long")) + header("x", 0) + padded(b"abc")
    assert walk(content + END) == [("é/long", len(content) - 512, 3)]


LINK: dict[str, Any] = {"type": tarfile.SYMTYPE, "linkname": "elsewhere"}
HARD_LINK: dict[str, Any] = {"type": tarfile.LNKTYPE, "linkname": "0.cls"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (archive(member("a", **LINK)), "a at byte 0 is no regular file but a symbolic link"),
        (archive(member("b/a", **HARD_LINK)), "b/a at byte 0 is no regular file but a hard link"),
        (archive(member("a", **{**LINK, "linkname": "x" * 300})), "a at byte .* symbolic link"),
        (archive(member("a", type=tarfile.CHRTYPE)), "a at byte 0 .* a device"),
        (archive(member("a", type=tarfile.BLKTYPE)), "a at byte 0 .* a device"),
        (archive(member("a", type=tarfile.FIFOTYPE)), "a at byte 0 .* a pipe"),
        (header("a", kind=tarfile.GNUTYPE_SPARSE) + END, "a at byte 0 .* a sparse file"),
        (header("a", kind=b"V") + END, "a at byte 0 .* of an unknown kind, b'V'"),
        (pax(record("GNU.sparse.major", "1")) + header() + END, "holds a sparse file at byte 0"),
        (archive(member("/etc/passwd")), "byte 0 whose name /etc/passwd is absolute"),
        (archive(member("a"), member("b/../../c")), "512 whose name b/../../c leads out of it"),
        (archive(member("..", type=tarfile.DIRTYPE)), "whose name .. leads out of it"),
        (archive(member("a\x1b[2J")), r"whose name a\\x1b\[2J holds a control character"),
        (archive(member("a\u202egpj.x")), r"a\\u202egpj.x holds a control character"),
        (pax(record("path", "a\0b")) + header() + END, r"a\\x00b holds a control character"),
        (archive(member("a" * 5000)), "a name of over 4096 bytes"),
        (archive(member("./")), "a file without a name at byte 0"),
        (pax(record("path", "")) + header() + END, "a file without a name"),
        (header("pax", 1 << 40, tarfile.XHDTYPE), "has a header of 1099511627776 bytes at byte 0"),
        (header("L", 1 << 30, tarfile.GNUTYPE_LONGNAME), "has a header of 1073741824 bytes"),
        (header("a", 1 << 31) + END, "a at byte 0 has 2147483648 bytes, more than 1073741824"),
        (header("a", -1) + END, "negative size at byte 0"),
        (header("a", 5000) + END, "ends at byte 1536, within a, which has 5000 bytes from 512 on"),
        (pax(record("size", "5000")) + header() + END, "within a, which has 5000 bytes"),
        (pax(record("size", "-1")) + header() + END, "a broken size in the header at byte 0"),
        (pax(b"0 path=a\n") + header() + END, "a broken pax header at byte 0"),
        (pax(b"9999 path=a\n") + header() + END, "a broken pax header at byte 0"),
        (pax(b"9 path=ab\n") + header() + END, "a broken pax header at byte 0"),
        (pax(b"7 path=\n") + header() + END, "a broken pax header at byte 0"),
        (pax(b"nothing\n") + header() + END, "a broken pax header at byte 0"),
        (pax(record("path", "a"), tarfile.XGLTYPE) + header() + END, "all its members one name"),
        (pax(record("size", "1"), tarfile.XGLTYPE) + header() + END, "one name or size"),
        (pax(record("path", "a")) * 2 + header() + END, "a member two names at byte 1024"),
        (pax(record("path", "a")) + END, "a header at its end, byte 1024, that belongs to no"),
        (header() + b"?" * 512 + END, "a broken header at byte 512: "),
        (b"no tar" * 1000, "is no tar"),
        (b"", "cut short: it ends at byte 0"),
    ],
)
def test_what_no_tar_may_hold_is_refused_by_name(content, problem):
    with pytest.raises(TarLayoutError, match=problem):
        walk(content)


def test_members_are_counted():
    content = archive(member("a"), member("b"), member("c"))
    assert len(walk(content, caps=TarCaps(members=3))) == 3
    with pytest.raises(TarLayoutError, match="holds more than 2 members"):
        walk(content, caps=TarCaps(members=2))


def write(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path.write_bytes(archive(*members))
    return path


@given(st.lists(st.tuples(st.integers(0, 999), st.binary(max_size=2000)), max_size=5))
def test_samples_are_found_where_they_lie(tmp_path_factory, samples):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    pairs = [
        pair
        for number, (label, image) in enumerate(samples)
        for pair in (member(f"{number}.cls", str(label).encode()), member(f"{number}.jpg", image))
    ]
    content = write(path, *pairs).read_bytes()
    found = samples_in(path)
    assert [
        (each.label, content[each.offset : each.offset + each.size_bytes]) for each in found
    ] == samples


LABEL, IMAGE = member("0.cls", b"1"), member("0.jpg", b"x")


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([IMAGE, LABEL], "0.jpg is not followed by its image"),
        ([LABEL], "0.cls is not followed by its image"),
        ([LABEL, member("1.jpg", b"x")], "0.cls is not followed by its image"),
        ([LABEL, member("0.rgb", b"x")], "0.cls is not followed by its image"),
        ([member("0.cls", b"one"), IMAGE], "invalid literal"),
        ([member("0.cls"), IMAGE], "invalid literal"),
        ([member("0.cls", b"1" * 30), IMAGE], "0.cls has 30 bytes, too many for a label"),
        ([member("0.cls", **LINK), IMAGE], "0.cls at byte 0 is no regular file"),
        ([LABEL, member("0.jpg", **HARD_LINK)], "0.jpg at byte 1024 is no regular file"),
    ],
)
def test_other_layouts_are_told(tmp_path, members, problem):
    with pytest.raises(TarLayoutError, match=problem):
        samples_in(write(tmp_path / "a.tar", *members))


def test_what_is_no_tar_is_told(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(TarLayoutError, match="is no tar"):
        samples_in(tmp_path / "a.tar")
