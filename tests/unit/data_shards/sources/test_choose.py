import gzip

import fsspec
import pytest

from data_shards.errors import SourceError, StorageError
from data_shards.sources.choose import open_source
from tests.unit.data_shards.sources.archives import jpeg, tar_of, write_tree

IMAGES = {"cat/1.jpg": jpeg(1), "dog/1.jpg": jpeg(2)}
SAMPLES = {"1.cls": b"0", "1.jpg": jpeg(1)}


@pytest.mark.parametrize(
    ("files", "name", "kind"),
    [
        (IMAGES, "", "image-folder"),
        ({"a.tar": tar_of(IMAGES)}, "a.tar", "image-folder"),
        ({"a.tgz": gzip.compress(tar_of(IMAGES))}, "a.tgz", "image-folder"),
        ({"a.tar": tar_of(SAMPLES)}, "a.tar", "webdataset"),
        ({"a.tar.gz": gzip.compress(tar_of(SAMPLES))}, "a.tar.gz", "webdataset"),
        ({"a.tar": tar_of(SAMPLES)}, "", "webdataset"),
        # Of the tar alone.
        ({"a.tar": tar_of(SAMPLES), **IMAGES}, "a.tar", "webdataset"),
        ({"a.tar": tar_of(SAMPLES), "notes/1.txt": b""}, "", "webdataset"),
        ({"manifest.json": b"of something else", **IMAGES}, "", "image-folder"),
        # Braces may be of a name.
        ({"{1..2}/cat/1.jpg": jpeg(1)}, "{1..2}", "image-folder"),
        ({"{1..2}.tar": tar_of(IMAGES)}, "{1..2}.tar", "image-folder"),
    ],
)
def test_what_a_location_holds_is_found_out(tmp_path, files, name, kind):
    root = write_tree(tmp_path / "files", files)
    (tmp_path / "scratch").mkdir()
    source = open_source(root / name, "train", scratch=tmp_path / "scratch")
    assert source.kind == kind
    assert source.reader.read(source.samples[0][0]) == jpeg(1)


@pytest.mark.parametrize(
    ("files", "name", "problem"),
    [
        ({}, "nowhere", "nowhere does not exist; name a folder of images, an archive, or the URL"),
        ({}, "nowhere.tar", "nowhere.tar does not exist"),
        ({}, "a-{1..2}.tar", "a-1.tar does not exist"),
        ({}, "a-{1..2.tar", "does not exist, and its braces do not match"),
        ({}, "a-{1..2}{0..99999}.tar", "stands for more than 100000 tars"),
        ({}, "a-{0..999999999999}.tar", "stands for more than 100000 tars"),
        ({"a.zip": b""}, "a.zip", "a.zip is a file of a kind that cannot be packed"),
        ({"a.tgz": b""}, "a.tgz", "a.tgz is compressed, and cannot be read from the middle; decom"),
        (
            {"a.tgz": b"", "b.tar.xz": b""},
            "",
            "holds archives; name the one to pack .*a.tgz",
        ),
        (
            {"a.tar": tar_of(IMAGES)},
            "",
            "if one of the tars holds folders of images, name that tar",
        ),
        (
            {"a.tar": tar_of(SAMPLES), **IMAGES},
            "",
            "holds tars, such as a.tar, and folders of images, such as cat; name the tars",
        ),
        (
            {"ILSVRC2012_img_val.tar": b"", "ILSVRC2012_img_train.tar": b""},
            "ILSVRC2012_img_val.tar",
            "val.tar is not the archive of train, which is ILSVRC2012_img_train.tar; name that",
        ),
        ({"manifest.json": b"{}", "a.tar": tar_of(SAMPLES)}, "", None),
    ],
)
def test_says_what_cannot_be_packed(tmp_path, files, name, problem):
    root = write_tree(tmp_path, files)
    with pytest.raises(SourceError if problem else Exception, match=problem or "has version None"):
        open_source(root / name, "train")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("memory://nothing", "memory://nothing holds no tars; images at a URL can be packed from"),
        ("memory://nothing/a.tar", "memory://nothing/a.tar does not exist"),
        ("memory://nothing/a.tar.gz", "memory://nothing/a.tar.gz is compressed"),
        ("ftp://server/set", "ftp"),
    ],
)
def test_says_what_is_not_at_a_url(url, problem):
    with pytest.raises((SourceError, StorageError), match=problem):
        open_source(url, "train")


def test_an_archive_at_a_url_is_decompressed_here(tmp_path):
    store = fsspec.filesystem("memory")
    store.pipe_file("choose/a.tgz", gzip.compress(tar_of(IMAGES)))
    source = open_source("memory://choose/a.tgz", "train", scratch=tmp_path)
    assert [source.reader.read(each) for each, _ in source.samples] == list(IMAGES.values())
    store.rm("choose", recursive=True)


@pytest.mark.parametrize(
    ("files", "name", "lies_in", "lies_below"),
    [
        (IMAGES, "", set(), {""}),
        ({f"train/{name}": content for name, content in IMAGES.items()}, "", set(), {"", "train"}),
        ({"a.tar": tar_of(IMAGES)}, "a.tar", {""}, set()),
        ({"a.tgz": gzip.compress(tar_of(SAMPLES))}, "a.tgz", {""}, set()),
        ({"a.tar": tar_of(SAMPLES)}, "", {""}, set()),
        ({"train/a.tar": tar_of(SAMPLES)}, "", {"train"}, set()),
        ({"x/1.tar": tar_of(SAMPLES), "y/1.tar": tar_of(SAMPLES)}, "{x,y}/1.tar", {"x", "y"}, None),
    ],
)
def test_tells_where_it_lies(tmp_path, files, name, lies_in, lies_below):
    root = write_tree(tmp_path / "files", files)
    (tmp_path / "scratch").mkdir()
    source = open_source(root / name, "train", scratch=tmp_path / "scratch")
    assert {str(root / each) for each in lies_in} <= set(source.lies_in)
    assert set(source.lies_in) <= {str(root), *(str(root / each) for each in lies_in)}
    assert set(source.lies_below) == {str(root / each) for each in lies_below or ()}


def test_tars_lie_where_their_links_lead(tmp_path):
    root = write_tree(tmp_path, {"far/a.tar": tar_of(SAMPLES), "near/note": b""})
    (root / "near" / "b.tar").symlink_to(root / "far" / "a.tar")
    source = open_source(root / "near", "train")
    assert set(source.lies_in) == {str(root / "near"), str(root / "far")}
