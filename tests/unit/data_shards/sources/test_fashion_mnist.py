import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from data_shards.errors import SourceError
from data_shards.sources.choose import open_source
from data_shards.sources.fashion_mnist import CLASSES


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
    assert [each.name for each in train.classes] == list(CLASSES)
    assert (len(train.samples), len(validation.samples)) == (30, 20)
    reference, label = train.samples[13]
    assert label == 3
    assert np.all(np.asarray(train.reader.read(reference)) == 13)
    assert train.sha256 != validation.sha256
    assert open_source(tmp_path, "val").sha256 == validation.sha256
    for path in tmp_path.glob("train-*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert open_source(tmp_path, "train").sha256 == train.sha256


@pytest.mark.parametrize(
    ("prepare", "split", "message"),
    [
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
