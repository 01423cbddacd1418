import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from data_shards.arrays import Pixels
from data_shards.errors import SourceError
from data_shards.images.skip import SkippedImageError, SkipReason
from data_shards.images.square import square_of
from data_shards.sources.choose import open_source
from data_shards.sources.image_folder import open_image_folder


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), (200, 10, 10)).save(path)


def test_folders_are_classes_in_the_order_of_their_names(tmp_path):
    for name in ("b/1.png", "b/deep/er/2.JPEG", "a/z.jpg", "a/.hidden.jpg", "n01440764/3.bmp"):
        picture(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    # No classes, as they would be none in a tar.
    (tmp_path / "empty" / "er").mkdir(parents=True)
    picture(tmp_path / "__MACOSX" / "a" / "1.png")
    (tmp_path / "loose.png").write_bytes(b"")
    source = open_source(tmp_path, "train")
    assert source.kind == "image-folder"
    assert [(each.name, each.synset) for each in source.classes] == [
        ("a", None),
        ("b", None),
        ("n01440764", "n01440764"),
    ]
    assert list(source.samples) == [
        ("a/z.jpg", 0),
        ("b/1.png", 1),
        ("b/deep/er/2.JPEG", 1),
        ("n01440764/3.bmp", 2),
    ]
    assert square_of(source.reader.read("b/1.png"), 4)[0, 0].tolist() == [200, 10, 10]


def test_a_folder_named_as_the_split_is_taken(tmp_path):
    picture(tmp_path / "train" / "cat" / "1.png")
    picture(tmp_path / "validation" / "cat" / "2.png")
    assert list(open_source(tmp_path, "train").samples) == [("cat/1.png", 0)]
    assert list(open_source(tmp_path, "validation").samples) == [("cat/2.png", 0)]


def test_val_is_the_validation_split(tmp_path):
    picture(tmp_path / "train" / "cat" / "1.png")
    picture(tmp_path / "val" / "cat" / "2.png")
    assert list(open_source(tmp_path, "validation").samples) == [("cat/2.png", 0)]
    # Its whole name goes before.
    picture(tmp_path / "validation" / "cat" / "3.png")
    assert list(open_source(tmp_path, "validation").samples) == [("cat/3.png", 0)]


@pytest.mark.parametrize(
    ("folders", "split", "found"),
    [
        (("train", "val"), "test", "train, val"),
        (("train", "test"), "validation", "test, train"),
        (("Train", "notes", "Val"), "train", "Train, Val"),
        (("validation",), "val", "validation"),
        (("train",), "holdout", "train"),
    ],
)
def test_splits_are_not_taken_for_classes(tmp_path, folders, split, found):
    for name in folders:
        picture(tmp_path / name / "cat" / "1.png")
    with pytest.raises(SourceError, match=f"no folder .*{split}.*, but {found}, which look like"):
        open_source(tmp_path, split)


def test_without_splits_the_folder_itself_is_meant(tmp_path):
    # There are pictures of trains.
    for name in ("cat", "train"):
        picture(tmp_path / name / "1.png")
    assert [each.name for each in open_source(tmp_path, "test").classes] == ["cat", "train"]


def test_a_class_must_have_a_readable_name(tmp_path):
    picture(tmp_path / "cat" / "1.png")
    picture(tmp_path / os.fsdecode(b"d\xffg") / "1.png")
    with pytest.raises(SourceError, match=r"a class d\\xffg, whose name is not UTF-8; rename it"):
        open_source(tmp_path, "train")


def test_a_folder_that_cannot_be_listed_is_no_empty_class(tmp_path, monkeypatch):
    for name in ("cat/1.png", "dog/1.png", "dog/deep/2.png"):
        picture(tmp_path / name)
    listed = os.scandir

    def failing(folder):
        if str(folder).endswith("deep"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), folder)
        return listed(folder)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(OSError, match=r"Input/output error: '.*deep'"):
        open_source(tmp_path, "train")


@pytest.mark.parametrize(
    "change",
    [
        lambda root: picture(root / "a" / "2.png"),
        lambda root: (root / "a" / "1.png").rename(root / "a" / "3.png"),
        lambda root: (root / "a" / "1.png").write_bytes(b"longer" * 1000),
        lambda root: (root / "a" / "1.png").unlink(),
        lambda root: (root / "b" / "gone.png").unlink(),
    ],
)
def test_a_changed_folder_has_another_digest(tmp_path, change):
    for name in ("a/1.png", "b/1.png"):
        picture(tmp_path / name)
    (tmp_path / "b" / "gone.png").symlink_to("nowhere")
    before = open_source(tmp_path, "train").sha256
    assert open_source(tmp_path, "train").sha256 == before
    change(tmp_path)
    assert open_source(tmp_path, "train").sha256 != before


@pytest.mark.parametrize(
    ("prepare", "split", "message"),
    [
        (lambda folder: None, "train", "the 0 folders in .* hold no images"),
        (lambda folder: (folder / "a").mkdir(), "train", "the 1 folders in .* hold no images"),
    ],
)
def test_says_what_is_missing(tmp_path, prepare, split, message):
    prepare(tmp_path)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path, split)


def test_the_words_of_synsets_are_told_by_a_file(tmp_path):
    for split in ("train", "val"):
        picture(tmp_path / split / "n01440764" / "1.png")
        picture(tmp_path / split / "n01443537" / "1.png")
    (tmp_path / "synset_words.txt").write_text(
        "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n"
    )
    for split in ("train", "validation"):
        assert [(each.name, each.synset) for each in open_source(tmp_path, split).classes] == [
            ("tench, Tinca tinca", "n01440764"),
            ("goldfish, Carassius auratus", "n01443537"),
        ]


def test_one_folder_around_all_the_rest_is_no_class(tmp_path):
    picture(tmp_path / "set" / "train" / "cat" / "1.png")
    assert list(open_source(tmp_path, "train").samples) == [("cat/1.png", 0)]


def read(path: Path) -> bytes | Pixels:
    picture(path.parent / "class" / "a.png")
    return open_image_folder(path.parent).reader.read(path.name)


def test_a_file_of_more_than_a_gigabyte_is_not_read(tmp_path):
    with (tmp_path / "a.tif").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(SkippedImageError) as caught:
        read(tmp_path / "a.tif")
    assert caught.value.reason is SkipReason.TOO_MANY_BYTES


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_disk_that_fails_is_not_taken_for_a_broken_image(tmp_path, monkeypatch, number):
    def failing(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), path)

    picture(tmp_path / "a.png")
    monkeypatch.setattr(Path, "read_bytes", failing)
    message = f"a.png cannot be read: {os.strerror(number)}; mend that"
    with pytest.raises(SourceError, match=message):
        read(tmp_path / "a.png")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(SkippedImageError, match="unreadable"):
        read(tmp_path / "a.png")
