from dataclasses import replace

import fsspec
import pytest

from data_shards.errors import PackError, StorageError
from data_shards.packing.overlap import refuse_overlap
from data_shards.packing.pack import pack
from data_shards.sources.choose import open_source
from data_shards.storage.folder import open_folder
from tests.unit.data_shards.packing.rehearsal import contents


@pytest.fixture
def source(request_for):
    """One of which nothing lies anywhere."""
    return replace(request_for().source, lies_below=())


@pytest.mark.parametrize(
    ("folder", "out", "holds", "lies_within"),
    [
        ("s3://a/b", "s3://a/b", True, True),
        ("s3://a/b", "s3://a/b/", True, True),
        ("s3://a/b", "s3://a/b/c", False, True),
        ("s3://a/b", "s3://a/bc", False, False),
        ("s3://a/b", "gs://a/b", False, False),
        ("s3://a/b", "s3://a", False, False),
        ("s3:/a/b", "s3://a/b", False, False),
        ("/a/b", "/a/b", True, True),
        ("/a/b", "/a/x/../b/", True, True),
        ("/a/b", "/a/b/c/d", False, True),
        ("/a/b", "/a/bc", False, False),
        ("/a/b", "/a", False, False),
    ],
)
def test_a_target_among_the_images_is_refused(source, folder, out, holds, lies_within):
    for other, refused in (
        (replace(source, lies_in=("/elsewhere", folder)), holds),
        (replace(source, lies_below=("/elsewhere", folder)), lies_within),
    ):
        if refused:
            with pytest.raises(PackError, match=f"{out} .*; choose a"):
                refuse_overlap(other, out)
        else:
            refuse_overlap(other, out)


def test_links_are_followed(source, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    with pytest.raises(PackError, match="choose a folder outside"):
        refuse_overlap(
            replace(source, lies_below=(str(tmp_path / "images"),)), tmp_path / "link" / "out"
        )


def test_a_target_that_is_no_place_is_told_as_such(source):
    with pytest.raises(StorageError, match="ftp"):
        refuse_overlap(replace(source, lies_in=("/a",)), "ftp://host/train")


@pytest.mark.parametrize("force", [False, True])
def test_tars_that_are_read_are_never_written(request_for, packed, own_copy, force):
    store = open_folder("memory://overlap/x")
    for name, content in contents(open_folder(packed)).items():
        if name.endswith(".tar"):
            store.put_bytes(content, name)
    for place in (str(own_copy), "memory://overlap/x"):
        before = contents(open_folder(place))
        request = request_for(source=open_source(place, "train"))
        with pytest.raises(PackError, match="holds the very files that are to be packed"):
            pack(request, place, num_processes=1, force=force)
        assert contents(open_folder(place)) == before
    fsspec.filesystem("memory").rm("overlap", recursive=True)


def test_a_folder_of_classes_gets_no_class_of_shards(request_for, image_folder):
    with pytest.raises(PackError, match="would be taken for one of them; choose a folder outside"):
        pack(request_for(), image_folder / "out", num_processes=1)
    assert not (image_folder / "out").exists()
