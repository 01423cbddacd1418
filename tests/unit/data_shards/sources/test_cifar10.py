import gzip
import io

import numpy as np
import pytest
from PIL import Image

from data_shards.errors import SourceError
from data_shards.images.square import square_of
from data_shards.sources.choose import open_source
from data_shards.sources.cifar10 import CLASSES
from tests.unit.data_shards.sources.archives import tar_of, write_tree

BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


def records(seed: int, count: int = 3) -> bytes:
    random = np.random.default_rng(seed)
    batch = random.integers(0, 256, (count, 3073), dtype=np.uint8)
    batch[:, 0] %= 10
    return batch.tobytes()


FILES = {f"cifar-10-batches-bin/{name}": records(seed) for seed, name in enumerate(BATCHES)}
FILES["cifar-10-batches-bin/readme.html"] = b""


@pytest.fixture(params=["batches", "around", "tar", "gz"])
def location(request, tmp_path):
    """The batches as they may lie."""
    root = write_tree(tmp_path / "set", FILES)
    (tmp_path / "a.tar").write_bytes(tar_of(FILES))
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar_of(FILES)))
    (tmp_path / "scratch").mkdir()
    return {
        "batches": root / "cifar-10-batches-bin",
        "around": root,
        "tar": tmp_path / "a.tar",
        "gz": tmp_path / "a.tar.gz",
    }[request.param]


def test_binary_batches_give_their_images(location, tmp_path):
    train = open_source(location, "train", scratch=tmp_path / "scratch")
    assert train.kind == "cifar-10"
    assert tuple(each.name for each in train.classes) == CLASSES
    assert len(train.samples) == 15
    reference, label = train.samples[7]
    # Image 1 of the third batch: a label, then 1,024 values each of red, green and blue.
    record = np.frombuffer(records(2), dtype=np.uint8)[3073:6146]
    assert (str(reference), label) == ("data_batch_3.bin/1", record[0])
    image = train.reader.read(reference)
    assert isinstance(image, np.ndarray)
    assert image.shape == (32, 32, 3)
    assert image[2, 5].tolist() == [record[1 + plane * 1024 + 2 * 32 + 5] for plane in range(3)]
    assert np.array_equal(square_of(image, 32), image)
    digests = {train.sha256}
    for name in ("test", "validation", "val"):
        test = open_source(location, name, scratch=tmp_path / "scratch")
        assert [str(each) for each, _ in test.samples] == [f"test_batch.bin/{n}" for n in range(3)]
        digests.add(test.sha256)
    assert len(digests) == 2


def test_wherever_they_lie_they_are_the_same(tmp_path):
    write_tree(tmp_path, FILES)
    (tmp_path / "a.tar").write_bytes(tar_of(FILES))
    assert open_source(tmp_path, "train").sha256 == open_source(tmp_path / "a.tar", "train").sha256


def test_pickles_are_never_loaded(tmp_path):
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        write_tree(tmp_path, {f"cifar-10-batches-py/{name}": b"cos\nsystem\n(S'exit'\ntR."})
    with pytest.raises(SourceError, match=r"py/data_batch_1 is .*pickles.* never loaded; fetch"):
        open_source(tmp_path, "train")
    (tmp_path / "py.tar").write_bytes(tar_of({"cifar-10-batches-py/data_batch_1": b""}))
    with pytest.raises(SourceError, match=r"never loaded; fetch cifar-10-binary.tar.gz instead"):
        open_source(tmp_path / "py.tar", "train")


def test_a_folder_of_its_images_is_an_image_folder(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (32, 32)).save(content, "JPEG")
    write_tree(tmp_path, {"cifar10/train/cat/0000.jpg": content.getvalue()})
    assert open_source(tmp_path, "train").kind == "image-folder"


@pytest.mark.parametrize(
    ("changes", "split", "problem"),
    [
        ({}, "dev", "CIFAR-10 has no split 'dev'; choose train or validation or val or test"),
        ({"data_batch_3.bin": None}, "train", "lacks data_batch_3.bin; fetch"),
        ({"data_batch_3.bin": bytes(3072)}, "train", "data_batch_3.bin has 3072 bytes, which are"),
        ({"data_batch_3.bin": b""}, "train", "data_batch_3.bin has 0 bytes, which are"),
        (
            {"test_batch.bin": bytes(3073) + b"\x0a" + bytes(3072)},
            "test",
            "test_batch.bin gives image 1 the label 10, where the classes are 0 to 9",
        ),
    ],
)
def test_says_what_is_missing(tmp_path, changes, split, problem):
    files = {name.partition("/")[2]: data for name, data in FILES.items()} | changes
    write_tree(tmp_path, {name: data for name, data in files.items() if data is not None})
    with pytest.raises(SourceError, match=problem):
        open_source(tmp_path, split)
