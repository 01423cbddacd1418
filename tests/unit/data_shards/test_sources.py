import errno
import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_shards.errors import SourceError
from data_shards.sources import FASHION_MNIST_CLASSES, open_source


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), (200, 10, 10)).save(path)


def test_folders_are_classes_in_the_order_of_their_names(tmp_path):
    for name in ("b/1.png", "b/deep/er/2.JPEG", "a/z.jpg", "a/.hidden.jpg", "n01440764/3.bmp"):
        picture(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "loose.png").write_bytes(b"")
    source = open_source(tmp_path, "train")
    assert source.kind == "image-folder"
    assert [(each.name, each.synset) for each in source.classes] == [
        ("a", None),
        ("b", None),
        ("empty", None),
        ("n01440764", "n01440764"),
    ]
    assert source.samples == [
        ("a/z.jpg", 0),
        ("b/1.png", 1),
        ("b/deep/er/2.JPEG", 1),
        ("n01440764/3.bmp", 3),
    ]
    assert source.loader.load("b/1.png", 4)[0, 0].tolist() == [200, 10, 10]


def test_a_folder_named_as_the_split_is_taken(tmp_path):
    picture(tmp_path / "train" / "cat" / "1.png")
    picture(tmp_path / "validation" / "cat" / "2.png")
    assert open_source(tmp_path, "train").samples == [("cat/1.png", 0)]
    assert open_source(tmp_path, "validation").samples == [("cat/2.png", 0)]


def test_val_is_the_validation_split(tmp_path):
    picture(tmp_path / "train" / "cat" / "1.png")
    picture(tmp_path / "val" / "cat" / "2.png")
    assert open_source(tmp_path, "validation").samples == [("cat/2.png", 0)]
    # Its whole name goes before.
    picture(tmp_path / "validation" / "cat" / "3.png")
    assert open_source(tmp_path, "validation").samples == [("cat/3.png", 0)]


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


def write_fashion_mnist(
    folder: Path, prefix: str, num_images: int, *, num_labels: int | None = None, classes: int = 10
) -> None:
    num_labels = num_images if num_labels is None else num_labels
    images = np.arange(num_images, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)
    labels = np.arange(num_labels, dtype=np.uint8) % classes
    for name, header, values in (
        ("images-idx3", struct.pack(">4I", 0x803, num_images, 28, 28), images),
        ("labels-idx1", struct.pack(">2I", 0x801, num_labels), labels),
    ):
        content = gzip.compress(header + values.tobytes())
        (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(content)


def test_fashion_mnist_is_known_by_its_files(tmp_path):
    write_fashion_mnist(tmp_path, "train", 30)
    write_fashion_mnist(tmp_path, "t10k", 20)
    train, validation = open_source(tmp_path, "train"), open_source(tmp_path, "validation")
    assert train.kind == "fashion-mnist"
    assert [each.name for each in train.classes] == list(FASHION_MNIST_CLASSES)
    assert (len(train.samples), len(validation.samples)) == (30, 20)
    reference, label = train.samples[13]
    assert label == 3
    assert (train.loader.load(reference, 64) == 13).all()
    assert train.sha256 != validation.sha256
    for path in tmp_path.glob("train-*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert open_source(tmp_path, "train").sha256 == train.sha256


@pytest.mark.parametrize(
    ("prepare", "split", "message"),
    [
        (lambda folder: None, "train", "has no folders"),
        (lambda folder: (folder / "a").mkdir(), "train", "hold no images"),
        (lambda folder: write_fashion_mnist(folder, "train", 3), "test", "choose train or valid"),
        (lambda folder: write_fashion_mnist(folder, "train", 3), "validation", "lacks t10k-images"),
        (
            lambda folder: write_fashion_mnist(folder, "train", 30, classes=13),
            "train",
            "gives image 10 the label 10, where the classes are 0 to 9; fetch it again",
        ),
        (
            lambda folder: write_fashion_mnist(folder, "train", 3, num_labels=4),
            "train",
            r"shape \(3, 28, 28\), where .* wants \(4, 28, 28\); fetch both again",
        ),
        (
            lambda folder: write_fashion_mnist(folder, "train", 4, num_labels=3),
            "train",
            r"shape \(4, 28, 28\), where .* wants \(3, 28, 28\); fetch both again",
        ),
    ],
)
def test_says_what_is_missing(tmp_path, prepare, split, message):
    prepare(tmp_path)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path, split)


def test_a_source_must_be_a_folder(tmp_path):
    with pytest.raises(SourceError, match="nowhere is not a folder"):
        open_source(tmp_path / "nowhere", "train")
