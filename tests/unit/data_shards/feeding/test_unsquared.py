"""Sets of images as they came, read beside the same images squared when they were packed."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_shards.feeding.corrupt import CorruptReason
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Batch, Reader
from data_shards.images.square import square_of
from data_shards.manifest import load_manifest
from data_shards.packing.pack import pack
from data_shards.shards.index import LABEL
from data_shards.sources.choose import open_source

EDGE, BATCH = 32, 8
# What the index points at that is no image: by its place in the set.
CORRUPT = {
    3: (b"<html>404 not found</html>", CorruptReason.NOT_AN_IMAGE),
    7: (b"", CorruptReason.NOT_AN_IMAGE),
}


def stored_images() -> list[bytes]:
    """Return 19 files of many kinds and sizes, two of which are no images."""
    random = np.random.default_rng(1)
    files = []
    for number in range(19):
        width, height = random.integers(5, 90, 2).tolist()
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        if number % 5 == 1:
            image = image.convert("L")
        if number % 7 == 2:
            image = image.convert("CMYK")
        kind = "PNG" if number % 3 == 0 and image.mode != "CMYK" else "JPEG"
        file = io.BytesIO()
        image.save(file, kind)
        files.append(file.getvalue())
    for place, (content, _) in CORRUPT.items():
        files[place] = content
    return files


def write_set(folder: Path, packed: Path, contents: list[bytes], **changes: object) -> None:
    """Write a set of one shard, whose manifest tells what another's does but for the changes."""
    shutil.copytree(packed, folder)
    document = json.loads((folder / "manifest.json").read_text())
    for shard in document["shards"]:
        (folder / shard["name"]).unlink()
    with tarfile.open(folder / "own.tar", "w") as tar:
        for number, content in enumerate(contents):
            info = tarfile.TarInfo(f"folder/{number}.jpg")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with tarfile.open(folder / "own.tar") as tar:
        rows = [(0, member.offset_data, member.size, place % 5) for place, member in enumerate(tar)]
    np.save(folder / "index.npy", np.array(rows, dtype=np.int64))
    shard = {"name": "own.tar", "num_samples": len(contents), "size_bytes": 1, "sha256": "0" * 64}
    document.update(shards=[shard], num_samples=len(contents), **changes)
    (folder / "manifest.json").write_text(json.dumps(document))


def read(folder: Path) -> list[Batch]:
    plan = ReaderPlan(
        location=str(folder), seed=2, global_batch_size=BATCH, crop_size=24, num_streams=2
    )
    with Reader(plan, num_processes=2) as reader:
        batches = reader.batches(0, 2 * reader.steps_per_epoch)
        return [Batch(**{**vars(batch), "images": batch.images.copy()}) for batch in batches]


@pytest.fixture
def sets(packed: Path, tmp_path: Path, seal: Callable[[Path], None]) -> tuple[Path, Path]:
    """The images as they came, and squared into raw bytes."""
    files = stored_images()
    blank = np.zeros((EDGE, EDGE, 3), dtype=np.uint8)
    squares = [
        (blank if place in CORRUPT else square_of(content, EDGE)).tobytes()
        for place, content in enumerate(files)
    ]
    write_set(tmp_path / "came", packed, files, squared=False)
    write_set(tmp_path / "raw", packed, squares, encoding="raw")
    for folder in (tmp_path / "came", tmp_path / "raw"):
        seal(folder)
        assert load_manifest(folder).image_size == EDGE
    return tmp_path / "came", tmp_path / "raw"


def test_the_pixels_are_those_of_a_set_that_was_squared_when_it_was_packed(sets):
    came, raw = map(read, sets)
    assert len(came) == len(raw) == 6
    for one, other in zip(came, raw, strict=True):
        corrupt = np.isin(one.samples, list(CORRUPT)) & other.real
        assert np.array_equal(one.real, other.real & ~corrupt)
        # Blank in both, where there is nothing to see.
        assert np.array_equal(one.images, other.images)
        for name in ("samples", "labels", "offsets", "mirrored"):
            assert np.array_equal(vars(one)[name], vars(other)[name])
    assert 0 < np.concatenate([batch.mirrored for batch in came]).mean() < 1


def test_what_is_no_image_is_skipped_with_its_reason_once_an_epoch(sets):
    batches = read(sets[0])
    labels = np.load(sets[0] / "index.npy")[:, LABEL]
    for epoch in (batches[:3], batches[3:]):
        corrupt = [sample for batch in epoch for sample in batch.corrupt]
        assert sorted((one.sample, one.name, one.reason) for one in corrupt) == [
            (place, f"own.tar:folder/{place}", reason) for place, (_, reason) in CORRUPT.items()
        ]
        real = np.concatenate([batch.samples[batch.real] for batch in epoch])
        assert sorted(real.tolist()) == sorted(set(range(19)) - set(CORRUPT))
        for batch in epoch:
            assert np.array_equal(batch.labels[batch.real], labels[batch.samples[batch.real]])


def test_jpegs_packed_as_they_came_are_read_as_those_packed_squared(request_for, tmp_path):
    files = [content for content in stored_images() if content.startswith(b"\xff\xd8")]
    for number, content in enumerate(files):
        folder = tmp_path / "images" / f"class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(content)
    source = open_source(tmp_path / "images", "train")
    for name, changes in (("came", {"squared": False}), ("raw", {"encoding": "raw"})):
        pack(request_for(source=source, **changes), tmp_path / name, num_processes=1)
    came, raw = (read(tmp_path / name) for name in ("came", "raw"))
    assert not any(batch.corrupt for batch in came)
    grey_or_rgb = 0
    for one, other in zip(came, raw, strict=True):
        for name in ("samples", "real", "labels", "offsets", "mirrored", "colour"):
            assert np.array_equal(vars(one)[name], vars(other)[name])
        # What is no plain JPEG, as CMYK, was encoded again.
        same = (one.images == other.images).all(axis=(1, 2, 3)) & one.real
        grey_or_rgb += int(same.sum())
    assert grey_or_rgb == 2 * sum(Image.open(io.BytesIO(file)).mode != "CMYK" for file in files)
