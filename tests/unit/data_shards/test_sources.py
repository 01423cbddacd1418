import gzip
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
    # Without one, the folder itself is meant.
    assert [each.name for each in open_source(tmp_path, "test").classes] == ["train", "validation"]


def write_fashion_mnist(folder: Path, prefix: str, num_images: int) -> None:
    images = np.arange(num_images, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)
    labels = np.arange(num_images, dtype=np.uint8) % 10
    for name, header, values in (
        ("images-idx3", struct.pack(">4I", 0x803, num_images, 28, 28), images),
        ("labels-idx1", struct.pack(">2I", 0x801, num_images), labels),
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


@pytest.mark.parametrize(
    ("prepare", "split", "message"),
    [
        (lambda folder: None, "train", "has no folders"),
        (lambda folder: (folder / "a").mkdir(), "train", "hold no images"),
        (lambda folder: write_fashion_mnist(folder, "train", 3), "test", "choose train or valid"),
        (lambda folder: write_fashion_mnist(folder, "train", 3), "validation", "lacks t10k-images"),
    ],
)
def test_says_what_is_missing(tmp_path, prepare, split, message):
    prepare(tmp_path)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path, split)


def test_a_source_must_be_a_folder(tmp_path):
    with pytest.raises(SourceError, match="nowhere is not a folder"):
        open_source(tmp_path / "nowhere", "train")
