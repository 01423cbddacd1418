import bz2
import gzip
import lzma

import pytest

from data_shards.errors import SourceError
from data_shards.sources.archive import decompress, is_archive, is_compressed, list_tar
from data_shards.storage.local_folder import LocalFolder
from tests.unit.data_shards.sources.archives import tar_of

CONTENT = tar_of({"a": b"1" * 5000, "b": b"22"})


def unheard(done: int, total: int) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("a.tar.gz", gzip.compress),
        ("a.tgz", gzip.compress),
        ("a.tar.bz2", bz2.compress),
        ("a.TAR.XZ", lzma.compress),
        ("a.txz", lzma.compress),
    ],
)
def test_compressed_archives_are_made_plain(tmp_path, name, compress):
    # Two streams, one after another, as parallel compressors write them.
    (tmp_path / name).write_bytes(compress(CONTENT[:3000]) + compress(CONTENT[3000:]))
    (tmp_path / "scratch").mkdir()
    assert is_archive(name)
    assert is_compressed(name)
    heard = []
    folder = decompress(
        LocalFolder(tmp_path), name, tmp_path / "scratch", lambda *done: heard.append(done)
    )
    assert folder.read_bytes(name, 1 << 20) == CONTENT
    assert heard[-1] == ((tmp_path / name).stat().st_size,) * 2
    assert [(each.name, each.size_bytes) for each in list_tar(folder, name, unheard)] == [
        ("a", 5000),
        ("b", 2),
    ]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.tgz", gzip.compress(CONTENT)[:-20], "cannot be decompressed: .*; fetch it again"),
        ("a.tgz", b"no gzip at all", "cannot be decompressed: Not a gzipped file"),
        ("a.tgz", gzip.compress(CONTENT)[:40] + bytes(40), "cannot be decompressed: "),
        ("a.tar.xz", lzma.compress(CONTENT)[:-20], "cannot be decompressed: .*; fetch it again"),
        ("a.tar.xz", b"no xz", "cannot be decompressed: .*; fetch it again"),
        ("a.tar.bz2", b"no bz2", "cannot be decompressed"),
        ("a.tar.zst", b"", "compressed in a way not known here; decompress it first"),
        ("a.tgz", gzip.compress(bytes(80 << 20), 1), "more than 100 times its own size"),
        ("a.tgz", None, "does not exist; check its name"),
    ],
    ids=[
        "gzip cut short",
        "no gzip",
        "gzip gone wrong",
        "xz cut short",
        "no xz",
        "no bz2",
        "zstd",
        "a bomb",
        "nothing",
    ],
)
def test_what_cannot_be_decompressed_is_told(tmp_path, name, content, problem):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "scratch").mkdir()
    with pytest.raises(SourceError, match=f"{name} .*{problem}"):
        decompress(LocalFolder(tmp_path), name, tmp_path / "scratch", unheard)


def test_a_scratch_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "a.tgz").write_bytes(gzip.compress(CONTENT))
    (tmp_path / "scratch").write_text("no folder")
    with pytest.raises(SourceError, match=r"decompressed into .*scratch: Not a directory; make"):
        decompress(LocalFolder(tmp_path), "a.tgz", tmp_path / "scratch", unheard)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (CONTENT[:2000], "a.tar: is cut short: it ends at byte 2000, within a, which"),
        (b"x" * 3000, "a.tar: is no tar; fetch it again"),
        (tar_of({"../a": b""}), "a.tar: .* leads out of it"),
        (None, "a.tar does not exist"),
    ],
    ids=["cut short", "no tar", "a path that leads out", "nothing"],
)
def test_what_cannot_be_listed_is_told(tmp_path, content, problem):
    if content is not None:
        (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(SourceError, match=problem):
        list_tar(LocalFolder(tmp_path), "a.tar", unheard)
