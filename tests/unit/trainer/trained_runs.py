"""Runs whose checkpoint is of a whole small network, beside what is needed of its shards."""

from pathlib import Path

import numpy as np

from data_shards.manifest import (
    ClassEntry,
    Manifest,
    Packing,
    RgbPca,
    ShardEntry,
    SidecarEntry,
)
from data_shards.shards.sidecars import MEAN_IMAGE_NAME, save_sidecar
from tests.unit.trainer.runs import manifest_of
from trainer.checkpoints.checkpoint import take_snapshot, write_checkpoint
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint import DataDigests
from trainer.contract.model_spec import ModelSpec
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.network.alexnet import AlexNet

IMAGE_SIZE = 73
CLASSES = (("ant", "n02219486"), ("crane", None))


def write_manifest(folder: Path, *, seed: int = 0) -> Manifest:
    """Write the manifest and the mean image of a set whose tars are not there."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    mean_image = random.uniform(60, 180, (IMAGE_SIZE, IMAGE_SIZE, 3)).astype(np.float32)
    unseen = "0" * 64
    manifest = Manifest(
        split="train",
        encoding="raw",
        image_size=IMAGE_SIZE,
        num_samples=3,
        classes=tuple(ClassEntry(name=name, synset=synset) for name, synset in CLASSES),
        shards=(ShardEntry(name="0.tar", num_samples=3, size_bytes=1, sha256=unseen),),
        index=SidecarEntry(name="index.npy", size_bytes=1, sha256=unseen),
        mean_image=save_sidecar(folder, MEAN_IMAGE_NAME, mean_image),
        rgb_pca=RgbPca(eigenvalues=(1, 1, 1), eigenvectors=((1, 0, 0), (0, 1, 0), (0, 0, 1))),
        packing=Packing(
            source="folder",
            source_sha256=unseen,
            seed=0,
            samples_per_shard=3,
            quality=None,
            limit=None,
            skipped={},
        ),
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    return manifest


def write_run(
    run: RunDirectory,
    shards: Path,
    network: AlexNet,
    model: ModelSpec,
    *,
    step: int = 20,
    tells_model: bool = True,
    resume_from: Path | None = None,
) -> Path:
    """Write an attempt whose checkpoint is of `network`; return the checkpoint's folder."""
    spec = JobSpec.model_validate(
        {"name": "run", "model": model, "data": {"train": str(shards), "validation": "nowhere"}}
    )
    attempt = run.attempt(run.newest_attempt() + 1)
    order = AttemptOrder(
        job_id="run",
        attempt=attempt.number,
        spec=spec,
        accelerator="cpu",
        resume_from=None if resume_from is None else str(resume_from.relative_to(run.path)),
    )
    write_order(attempt, order)
    stored = Manifest.model_validate_json((shards / "manifest.json").read_bytes())
    manifest = manifest_of(step, top1=0.5, attempt=attempt.number).model_copy(
        update={
            "model": model if tells_model else None,
            "data_sha256": DataDigests(train=stored.content_sha256(), validation="b" * 64),
        }
    )
    weights = network.state_dict()
    folder = attempt.checkpoint(step)
    write_checkpoint(take_snapshot(manifest, weights, weights), folder, check_fence=lambda: None)
    return folder
