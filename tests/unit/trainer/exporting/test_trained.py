import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.trainer.batches import make_batch
from tests.unit.trainer.trained_runs import CLASSES, IMAGE_SIZE, write_manifest, write_run
from trainer.contract.checkpoint_folder import CheckpointError, measure
from trainer.contract.model_spec import ModelSpec
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.exporting.trained import ExportError, read_trained
from trainer.learning.preprocess import Preprocess
from trainer.network.alexnet import AlexNet

CPU = torch.device("cpu")

Networks = Callable[..., AlexNet]
Models = Callable[..., ModelSpec]
WriteRun = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "shards")
    return tmp_path / "shards"


@pytest.fixture
def write(
    run: RunDirectory, shards: Path, small_network: Networks, small_model: Models
) -> WriteRun:
    def write(**options: Any) -> Path:
        return write_run(run, shards, small_network(), small_model(), **options)

    return write


def test_a_checkpoint_is_read_with_what_is_subtracted_and_its_words(
    write: WriteRun, small_network: Networks, small_model: Models
) -> None:
    folder = write()
    trained = read_trained(folder)
    expected = small_network().state_dict()
    stored = trained.network.state_dict()
    assert all(torch.equal(stored[name], expected[name]) for name in expected)
    about = trained.about
    assert about.model == small_model()
    assert about.classes == tuple(name for name, _ in CLASSES)
    assert about.synsets == tuple(synset for _, synset in CLASSES)
    assert (about.input_size, about.image_size) == (64, IMAGE_SIZE)
    assert (about.step, about.top1, about.top5) == (20, 0.5, 0.5)
    assert about.weights_sha256 == measure(folder / "model.safetensors")[1]


def test_the_mean_image_is_what_is_subtracted_from_a_centre_crop(
    write: WriteRun, shards: Path
) -> None:
    batch = make_batch(num_images=1)
    first = (IMAGE_SIZE - 64) // 2
    batch.offsets[:], batch.mirrored[:] = first, False
    whole = np.load(shards / "mean_image.npy")
    prepared, _ = Preprocess(whole, None, (CPU, CPU), torch.float32)(batch)
    # (n, s, s, 3) -> (n, 3, s, s)
    pixels = torch.from_numpy(batch.images).permute(0, 3, 1, 2)
    assert torch.equal(pixels - read_trained(write()).mean_image, prepared)


def test_of_a_run_the_latest_whole_checkpoint_is_read(write: WriteRun, run: RunDirectory) -> None:
    damaged = write(step=30, resume_from=write(step=20))
    (damaged / "model.safetensors").write_bytes(b"")
    said: list[str] = []
    assert read_trained(run.path, say=said.append).about.step == 20
    assert len(said) == 1
    assert str(damaged) in said[0]


def test_a_damaged_checkpoint_is_refused(write: WriteRun) -> None:
    folder = write()
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not have the sha256"):
        read_trained(folder)


def test_what_release_0_1_did_not_write_is_read_from_the_order(
    write: WriteRun, small_model: Models
) -> None:
    assert read_trained(write(tells_model=False)).about.model == small_model()


def test_a_checkpoint_that_left_its_run_is_read_with_options(
    write: WriteRun, shards: Path, tmp_path: Path, job: Callable[..., JobSpec]
) -> None:
    alone = Path(shutil.copytree(write(tells_model=False), tmp_path / "alone"))
    with pytest.raises(ExportError, match=r"name the network by --spec JOB\.json"):
        read_trained(alone)
    with pytest.raises(ExportError, match="name where its mean image and class names lie by --man"):
        read_trained(Path(shutil.copytree(write(), tmp_path / "another")))
    spec = job()
    assert read_trained(alone, spec=spec, manifest=shards).about.model == spec.model
    here = spec.model_copy(update={"data": spec.data.model_copy(update={"train": str(shards)})})
    assert read_trained(alone, spec=here).about.model == spec.model


def test_an_order_that_is_gone_or_may_not_be_read_is_named(
    write: WriteRun, run: RunDirectory
) -> None:
    folder = write(tells_model=False)
    order = run.attempt(1).order
    order.unlink()
    with pytest.raises(ExportError, match=r"order\.json is not there, or is no order: name"):
        read_trained(folder)
    order.mkdir()
    with pytest.raises(ExportError, match=r"order\.json cannot be read"):
        read_trained(folder)


def test_shards_that_were_moved_are_named_by_an_option(write: WriteRun, shards: Path) -> None:
    folder = write()
    moved = shards.rename(shards.with_name("moved"))
    with pytest.raises(ExportError, match=r"manifest\.json does not exist.*--manifest SHARDS/trai"):
        read_trained(folder)
    assert read_trained(folder, manifest=moved).about.classes
    (moved / "mean_image.npy").unlink()
    with pytest.raises(ExportError, match=r"mean_image\.npy: is missing"):
        read_trained(folder, manifest=moved)


def test_other_shards_are_refused(write: WriteRun, tmp_path: Path) -> None:
    folder = write()
    write_manifest(tmp_path / "other", seed=1)
    with pytest.raises(ExportError, match="is not what the network was trained on; name the shard"):
        read_trained(folder, manifest=tmp_path / "other")


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path, run: RunDirectory) -> None:
    with pytest.raises(ExportError, match="is no folder; name a checkpoint's, or a run directory"):
        read_trained(tmp_path / "nothing")
    run.attempt(1).path.mkdir(parents=True)
    with pytest.raises(ExportError, match="holds no whole checkpoint"):
        read_trained(run.path)
    with pytest.raises(ExportError, match=r"is neither a checkpoint, with checkpoint\.json, nor a"):
        read_trained(tmp_path)


def test_a_spec_of_another_network_is_refused(
    write: WriteRun, shards: Path, tmp_path: Path, job: Callable[..., JobSpec], small_model: Models
) -> None:
    alone = Path(shutil.copytree(write(tells_model=False), tmp_path / "alone"))
    with pytest.raises(CheckpointError, match="does not fit the network"):
        read_trained(alone, spec=job(model=small_model(num_classes=3)), manifest=shards)
