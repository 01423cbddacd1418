import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.shards.tar_index import TarLayoutError, read_tar_index


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def write(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
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
    found = read_tar_index(path, "jpg")
    assert [
        (each.label, content[each.offset : each.offset + each.size_bytes]) for each in found
    ] == samples


LINK = {"type": tarfile.SYMTYPE, "linkname": "elsewhere"}
HARD_LINK = {"type": tarfile.LNKTYPE, "linkname": "0.cls"}
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
        ([member("0.cls", type=tarfile.DIRTYPE), IMAGE], "0.cls is no regular file"),
        ([member("0.cls", **LINK), IMAGE], "0.cls is no regular file"),
        ([member("0.cls", type=tarfile.FIFOTYPE), IMAGE], "0.cls is no regular file"),
        ([LABEL, member("0.jpg", **HARD_LINK)], "0.jpg is no regular file"),
    ],
)
def test_other_layouts_are_told(tmp_path, members, problem):
    with pytest.raises(TarLayoutError, match=problem):
        read_tar_index(write(tmp_path / "a.tar", *members), "jpg")


def test_what_is_no_tar_is_told(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(TarLayoutError):
        read_tar_index(tmp_path / "a.tar", "jpg")
    with pytest.raises(TarLayoutError, match="No such file"):
        read_tar_index(tmp_path / "b.tar", "jpg")
