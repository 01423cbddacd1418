import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
import torch

from data_shards.errors import PlanError
from data_shards.feeding.draws import colour_normals, crop_offsets, mirrored
from data_shards.feeding.reader import Batch
from data_shards.manifest import load_manifest
from data_shards.shards.sidecars import load_mean_image
from data_shards.storage.folder import open_folder
from tests.unit.trainer.running.packed import STORED, pack_pictures
from trainer.contract.model_spec import Recipe
from trainer.contract.spec import JobSpec
from trainer.devices.replicas import Replicas
from trainer.evaluation.evaluate import Member
from trainer.network.alexnet import AlexNet
from trainer.running.datasets import Datasets

CPU = torch.device("cpu")
CROP = 64
BATCH_SIZE = 20
FIRST = (STORED - CROP) // 2
SEED, EPOCH = 9, 1

Job = Callable[..., JobSpec]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_pictures(tmp_path_factory.mktemp("shards"))


def _stored(shards: Path) -> npt.NDArray[np.float64]:
    """Return every image as it was packed, (n, s, s, 3), read without our reader."""
    (shard,) = load_manifest(shards).shards
    images = []
    with tarfile.open(shards / shard.name) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            if member.name.endswith(".jpg"):
                images.append(simplejpeg.decode_jpeg(content.read()))
    return np.array(images, dtype=np.float64)


def test_a_nodes_cache_must_hold_what_both_sets_need(
    job: Job, shards: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in shards.iterdir():
        open_folder(bucket).put(file, file.name)
    model = {**job().model.model_dump(), "num_classes": 2}
    spec = job(data={"train": bucket, "validation": bucket, "num_streams": 4}, model=model)
    manifest = load_manifest(shards)
    sidecars = manifest.index.size_bytes + manifest.mean_image.size_bytes
    one = sum(shard.size_bytes for shard in manifest.shards) + sidecars
    monkeypatch.setenv("ALEXNET_SHARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ALEXNET_SHARD_CACHE_BYTES", str(2 * one - 1))
    with pytest.raises(PlanError, match=f"{2 * one} are needed at once .* and 1 shards for the 1 "):
        Datasets(spec, Replicas(CPU), (CPU, CPU))


@contextmanager
def _opened(job: Job, shards: Path, recipe: Recipe) -> Iterator[Datasets]:
    here = str(shards)
    model = {**job().model.model_dump(), "recipe": recipe, "num_classes": 2}
    spec = job(
        seed=SEED,
        data={"train": here, "validation": here, "num_streams": 4},
        model=model,
        optim={"global_batch_size": BATCH_SIZE},
    )
    with Datasets(spec, Replicas(CPU), (CPU, CPU)) as datasets:
        yield datasets


def _mean(shards: Path) -> npt.NDArray[np.float64]:
    return load_mean_image(shards, load_manifest(shards)).astype(np.float64)


def _crop(image: npt.NDArray[np.float64], row: int, column: int) -> npt.NDArray[np.float64]:
    return image[row : row + CROP, column : column + CROP]


def _drawn(number: int, **unit: Any) -> tuple[int, int, bool]:
    """Return row, column and mirrored, drawn for a sample or for a chunk."""
    key = {"seed": SEED, "epoch": EPOCH, **unit}
    numbers = np.array([number])
    ((row, column),) = crop_offsets(numbers, num_positions=STORED - CROP + 1, **key)
    return row, column, bool(mirrored(numbers, **key)[0])


def _paper(shards: Path, sample: int, place: int) -> npt.NDArray[np.float64]:
    """Sections 2 and 4.1, literally: (c, c, 3)."""
    row, column, reflect = _drawn(sample)
    x = _crop(_stored(shards)[sample] - _mean(shards), row, column)
    x = x[:, ::-1] if reflect else x
    pca = load_manifest(shards).rgb_pca
    alphas = 0.1 * colour_normals(np.array([sample]), seed=SEED, epoch=EPOCH)[0]
    lambdas = np.array(pca.eigenvalues) / 255**2  # of pixels on 0-1
    return x + 255 * np.array(pca.eigenvectors).T @ (alphas * lambdas)


def _source2012(shards: Path, sample: int, place: int) -> npt.NDArray[np.float64]:
    """The 2012 source's `convdata.py`, literally: (c, c, 3)."""
    row, column, reflect = _drawn(place // 32, unit="chunk")
    x = _crop(_stored(shards)[sample], row, column)
    x = x[:, ::-1] if reflect else x
    x = x - _crop(_mean(shards), FIRST, FIRST)
    pca = load_manifest(shards).rgb_pca
    normals = colour_normals(np.array([sample]), seed=SEED, epoch=EPOCH)[0]
    noise = np.array(pca.eigenvectors).T @ (normals * np.sqrt(pca.eigenvalues))
    return (x + 0.1 * noise) / 1.1


@pytest.mark.parametrize(("recipe", "literal"), [("paper", _paper), ("source2012", _source2012)])
def test_towers_read_what_the_recipe_says(
    job: Job, shards: Path, recipe: Recipe, literal: Callable[..., npt.NDArray[np.float64]]
) -> None:
    with _opened(job, shards, recipe) as datasets:
        # Steps 3 to 5 are the second epoch.
        for step, batch in enumerate(datasets.train.batches(3, 6)):
            images, _ = datasets.prepare_train(batch)
            for place in np.flatnonzero(batch.real)[::3]:
                expected = literal(shards, batch.samples[place], step * BATCH_SIZE + place)
                # (3, c, c) -> (c, c, 3)
                read = images[place].permute(1, 2, 0).numpy()
                np.testing.assert_allclose(read, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("recipe", ["paper", "source2012"])
def test_validation_reads_the_centre_less_the_mean_there(
    job: Job, small_network: Callable[..., AlexNet], shards: Path, recipe: Recipe
) -> None:
    expected = [_crop(image - _mean(shards), FIRST, FIRST) for image in _stored(shards)]

    def prepared(member: Member, batch: Batch) -> torch.Tensor:
        (view,) = member.views
        images, _ = member.preprocess(view.of(batch))
        return images[torch.from_numpy(batch.real)].permute(0, 2, 3, 1)

    with _opened(job, shards, recipe) as datasets:
        model = job().model.model_copy(update={"recipe": recipe})
        member = datasets.validation.member(small_network(), model, "centre_crop")
        read = torch.cat([prepared(member, batch) for batch in datasets.validation.batches()])
    np.testing.assert_allclose(read.numpy(), expected, rtol=1e-4, atol=1e-3)
