import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from service.app import create_app
from service.control_plane import ControlPlane
from service.settings import Settings
from service.store.store import Store
from trainer.contract.spec import JobSpec

SHA = "0" * 64


def manifest_document(
    *, image_size: int = 72, num_classes: int = 10, split: str = "train"
) -> dict[str, Any]:
    return {
        "version": 1,
        "split": split,
        "encoding": "jpeg",
        "image_size": image_size,
        "num_samples": 20,
        "classes": [{"name": f"class {i}", "synset": None} for i in range(num_classes)],
        "shards": [
            {"name": "train-00000.tar", "num_samples": 20, "size_bytes": 100, "sha256": SHA}
        ],
        "index": {"name": "index.npy", "size_bytes": 1, "sha256": SHA},
        "mean_image": {"name": "mean.npy", "size_bytes": 1, "sha256": SHA},
        "rgb_pca": {
            "eigenvalues": [3.0, 2.0, 1.0],
            "eigenvectors": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        },
        "packing": {
            "source": "folder",
            "seed": 0,
            "samples_per_shard": 20,
            "quality": 92,
            "limit": None,
            "skipped": {},
        },
    }


def write_manifest(folder: Path, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest_document(**options)))
    return path


def wait_until(probe: Callable[[], Any], *, timeout_s: float = 10.0) -> Any:
    """Return what `probe` gives as soon as it is true; fail after the deadline."""
    deadline = datetime.now(UTC) + timedelta(seconds=timeout_s)
    pause = threading.Event()
    while not (value := probe()):
        assert datetime.now(UTC) < deadline, "it did not happen in time"
        pause.wait(0.02)
    return value


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    write_manifest(root / "train")
    write_manifest(root / "validation", split="validation")
    return root


@pytest.fixture
def request_body(data_root: Path) -> dict[str, Any]:
    return {
        "preset": "small",
        "name": "a job",
        "data": {
            "train": str(data_root / "train" / "manifest.json"),
            "validation": str(data_root / "validation" / "manifest.json"),
        },
    }


@pytest.fixture
def spec() -> JobSpec:
    return make_spec()


def make_spec(**fields: Any) -> JobSpec:
    return JobSpec.model_validate(
        {"name": "a job", "data": {"train": "/d/t.json", "validation": "/d/v.json"}} | fields
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.db")
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def settings(tmp_path: Path, data_root: Path) -> Settings:
    # Nothing listens on the discard port: Ray is never there in these tests.
    return Settings(
        state_dir=tmp_path / "state",
        data_roots=(data_root,),
        ray_address="http://127.0.0.1:9",
        port=free_port(),
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def plane(settings: Settings) -> Iterator[ControlPlane]:
    plane = ControlPlane(settings, token=None)
    with serving(plane):
        yield plane


class serving:  # noqa: N801 - reads as the statement it is
    """Serve a control plane over real HTTP, from a thread, while the block runs."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        settings = plane.settings
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(plane),
                host=settings.host,
                port=settings.port,
                log_config=None,
                lifespan="off",
                timeout_graceful_shutdown=2,
            )
        )
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> None:
        self._plane.start()
        self._thread.start()
        wait_until(lambda: self._server.started)

    def __exit__(self, *_: object) -> None:
        self._plane.begin_stop()
        self._server.should_exit = True
        self._thread.join()
        self._plane.stop()


@pytest.fixture
def http(plane: ControlPlane) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=plane.settings.advertised_url) as client:
        yield client
