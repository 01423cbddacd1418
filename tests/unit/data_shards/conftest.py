"""A small packed set: 5 classes of generated pictures, 37 samples, 4 shards."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from data_shards.manifest import Manifest
from data_shards.packing.pack import pack
from data_shards.packing.request import PackRequest
from data_shards.sources.choose import open_source
from data_shards.storage.location import DRIVERS


@pytest.fixture(autouse=True, scope="module")
def store_in_memory() -> Iterator[None]:
    """Have memory:// read as an object store, of this process alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DRIVERS, "memory", ("memory", "fsspec"))
        yield


CLASS_SIZES = {"ant": 5, "bee": 9, "n00000003": 8, "n00000004": 11, "wasp": 4}
NUM_SAMPLES = sum(CLASS_SIZES.values())


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders; every picture differs from every other."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for name, count in CLASS_SIZES.items():
        (root / name).mkdir()
        for number in range(count):
            width, height = random.integers(30, 60, 2)
            coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((int(width), int(height)))
            picture.save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def request_for(image_folder: Path) -> Callable[..., PackRequest]:
    """Makes a request to pack `image_folder`, 32 pixels, 10 samples a shard."""

    def make(**changes: Any) -> PackRequest:
        fields: dict[str, Any] = {
            "source": open_source(image_folder, "train"),
            "split": "train",
            "size": 32,
            "encoding": "jpeg",
            "quality": 90,
            "samples_per_shard": 10,
            "limit": None,
            "seed": 1,
        }
        return PackRequest(**{**fields, **changes})

    return make


@pytest.fixture(scope="session")
def packed(
    request_for: Callable[..., PackRequest], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A packed set, to be read only."""
    out = tmp_path_factory.mktemp("packed") / "train"
    pack(request_for(), out, num_processes=1)
    return out


@pytest.fixture
def own_copy(packed: Path, tmp_path: Path) -> Path:
    """A packed set to be damaged."""
    return Path(shutil.copytree(packed, tmp_path / "copy"))


@pytest.fixture(scope="session")
def seal() -> Callable[[Path], None]:
    """Makes the manifest agree with the shards as they are now."""

    def rewrite(folder: Path) -> None:
        document = json.loads((folder / "manifest.json").read_text())
        for entry in [*document["shards"], document["index"], document["mean_image"]]:
            content = (folder / entry["name"]).read_bytes()
            entry["size_bytes"] = len(content)
            entry["sha256"] = hashlib.sha256(content).hexdigest()
        manifest = Manifest.model_validate(document)
        (folder / "manifest.json").write_text(manifest.to_json())

    return rewrite


@pytest.fixture(scope="session")
def still_running() -> Callable[[list[psutil.Process]], list[psutil.Process]]:
    """Waits up to a minute for processes to end; returns those that have not."""

    def is_running(process: psutil.Process) -> bool:
        try:
            # An orphan may stay a zombie until somebody reaps it.
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def wait(processes: list[psutil.Process]) -> list[psutil.Process]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and any(map(is_running, processes)):
            psutil.wait_procs(processes, timeout=0.02)
        return [process for process in processes if is_running(process)]

    return wait
