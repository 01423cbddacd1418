"""A small set of shards that `python -m trainer` learns from, and runs of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from service.cluster.warm_process import launcher
from tests.acceptance.product import draw_images, pack
from tests.warm_python import fork_server
from trainer.contract.checkpoint_folder import latest_checkpoint
from trainer.contract.run_directory import RunDirectory
from trainer.devices import machine
from trainer.warm.launcher import SOCKET_VARIABLE

# Prime, so that no batch, stream or shard divides it.
NUM_TRAINING_IMAGES = 401
NUM_VALIDATION_IMAGES = 53
EPOCHS = 4

# Not in this process's environment, which other tests have too.
_WARM: dict[str, str] = {}


@dataclass(frozen=True)
class Shards:
    train: Path
    validation: Path


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return pack_few(tmp_path_factory.mktemp("shards"))


def pack_few(root: Path) -> Shards:
    """Draw a small set below a folder, and pack it."""
    train = draw_images(root / "images-train", num_images=NUM_TRAINING_IMAGES, seed=1)
    validation = draw_images(root / "images-validation", num_images=NUM_VALIDATION_IMAGES, seed=2)
    return Shards(
        train=pack(train, root / "train", split="train"),
        validation=pack(validation, root / "validation", split="validation"),
    )


@pytest.fixture(scope="session", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have `train` fork what it runs: most of these jobs take less time than torch's import."""
    socket = tmp_path_factory.mktemp("warm") / "fork.sock"
    with fork_server(socket), pytest.MonkeyPatch.context() as patch:
        patch.setitem(_WARM, SOCKET_VARIABLE, str(socket))
        yield


@pytest.fixture(scope="module")
def settled() -> None:
    """This process computes as a replica's: the same bits each time, in one thread."""
    machine.settle([torch.device("cpu")], num_threads=1)


def write_job(folder: Path, shards: Shards, **over: Any) -> Path:
    """Write job.json: the `small` preset at an eighth of the width, 104 steps, dropout on."""
    request = {
        "preset": "small",
        "name": "integration",
        "seed": 7,
        "data": {"train": str(shards.train), "validation": str(shards.validation)},
        "model": {"width": 0.125},
        "optim": {"global_batch_size": 16, "epochs": EPOCHS},
        # Wherever they run: on GPUs the bits are others, and one of them is too few.
        "scale": {"cpus_per_replica": 1, "accelerator": "cpu"},
        "checkpoint": {"interval_steps": 10},
    }
    file = folder / "job.json"
    file.write_text(json.dumps({**request, **over}))
    return file


def command(job: Path, run_dir: Path, *arguments: str) -> list[str]:
    """Return the command line that trains."""
    return [sys.executable, *_arguments(job, run_dir), *arguments]


def train(job: Path, run_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Train to the end."""
    return subprocess.run(
        [*launcher(), *_arguments(job, run_dir), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
        env={**os.environ, **_WARM},
    )


def _arguments(job: Path, run_dir: Path) -> list[str]:
    return ["-m", "trainer", "--spec", str(job), "--run-dir", str(run_dir)]


def final_weights(run_dir: Path) -> str:
    """Return the sha256 of the latest checkpoint's weights, every byte of it verified."""
    latest = latest_checkpoint(RunDirectory(run_dir))
    assert latest.checkpoint is not None
    assert latest.damaged == ()
    return latest.checkpoint.manifest.files["model.safetensors"].sha256
