import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_shards.arrays import Int64s
from data_shards.errors import DataError
from data_shards.inspection.opened_set import open_set
from data_shards.shards.index import LABEL, OFFSET, SHARD, SIZE
from tests.unit.trainer.running.packed import NUM_IMAGES, STORED, pack_pictures
from tests.unit.trainer.runs import add_attempt
from trainer.contract.model_spec import ModelSpec
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import DataSpec
from trainer.pictures.shown_images import NUM_SHOWN, choose, open_shown, write_shown

MODEL = ModelSpec(input_size=64, num_classes=2)


@given(
    labels=st.lists(st.integers(0, 20), max_size=300).map(lambda own: np.array(own, np.int64)),
    seed=st.integers(0, 2**32),
)
def test_eight_samples_of_as_many_classes_as_can_be(labels: Int64s, seed: int) -> None:
    chosen = choose(labels, seed=seed)
    assert len(set(chosen.tolist())) == len(chosen) <= NUM_SHOWN
    num_classes = len(np.unique(labels))
    assert len(np.unique(labels[chosen])) == min(NUM_SHOWN, num_classes)
    np.testing.assert_array_equal(chosen, choose(labels.copy(), seed=seed))
    fewest = np.bincount(labels).max(initial=0) * num_classes if num_classes == 1 else 0
    assert len(chosen) >= min(NUM_SHOWN, fewest)


def test_another_seed_shows_others() -> None:
    labels = np.arange(1000) % 10
    assert len({tuple(choose(labels, seed=seed).tolist()) for seed in range(20)}) > 10


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_pictures(tmp_path_factory.mktemp("set"))


def _data(folder: Path) -> DataSpec:
    return DataSpec(train=str(folder), validation=str(folder))


def test_what_is_shown_is_what_the_network_sees(packed: Path, tmp_path: Path) -> None:
    attempt = add_attempt(RunDirectory(tmp_path / "run"))
    shown = open_shown(_data(packed), MODEL, seed=3)
    assert shown.names == ("class-0", "class-1")
    assert shown.mean_image.shape == (STORED, STORED, 3)
    labels = open_set(str(packed)).index()[:, LABEL]
    np.testing.assert_array_equal(shown.batch.samples, choose(labels, seed=3))
    np.testing.assert_array_equal(shown.batch.labels, labels[shown.batch.samples])
    files = write_shown(shown, attempt)
    first = (STORED - 64) // 2
    for file, image in zip(files, shown.batch.images, strict=True):
        seen = image[first : first + 64, first : first + 64]
        np.testing.assert_array_equal(np.asarray(Image.open(file)), seen)
    written_at = [file.stat().st_mtime_ns for file in files]
    assert write_shown(shown, attempt) == files
    assert [file.stat().st_mtime_ns for file in files] == written_at


def test_a_corrupt_image_is_left_out(packed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in packed.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    opened = open_set(str(folder))
    index = opened.index()
    shown = open_shown(_data(folder), MODEL, seed=3)
    row = index[shown.batch.samples[0]]
    shard = folder / opened.manifest.shards[row[SHARD]].name
    content = bytearray(shard.read_bytes())
    content[row[OFFSET] : row[OFFSET] + row[SIZE]] = b"\0" * int(row[SIZE])
    shard.write_bytes(content)
    left = open_shown(_data(folder), MODEL, seed=3).batch.samples
    np.testing.assert_array_equal(left, shown.batch.samples[1:])
    assert len(index) == NUM_IMAGES


def test_a_set_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({}))
    with pytest.raises(DataError):
        open_shown(_data(tmp_path), MODEL, seed=0)
