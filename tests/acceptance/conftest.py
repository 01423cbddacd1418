"""Two sets of shards, and one control plane with its own Ray, for the whole session."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.product import ControlPlane, draw_images, free_port, pack

# Prime, so that no batch, stream or shard divides it.
NUM_TRAINING_IMAGES = 3001
NUM_VALIDATION_IMAGES = 203


@dataclass(frozen=True)
class Shards:
    root: Path
    train: Path
    validation: Path

    def spec(self, **over: Any) -> dict[str, Any]:
        """Return a request for a short run of the small preset on these shards."""
        return {
            "preset": "small",
            "name": "acceptance",
            "data": {"train": str(self.train), "validation": str(self.validation)},
            **over,
        }


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    root = tmp_path_factory.mktemp("shards")
    train = draw_images(root / "images-train", num_images=NUM_TRAINING_IMAGES, seed=1)
    validation = draw_images(root / "images-validation", num_images=NUM_VALIDATION_IMAGES, seed=2)
    return Shards(
        root=root,
        train=pack(train, root / "train", split="train"),
        validation=pack(validation, root / "validation", split="validation"),
    )


@pytest.fixture(scope="session")
def control_plane(
    shards: Shards, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    control_plane = ControlPlane(
        tmp_path_factory.mktemp("service") / "state",
        shards.root,
        ALEXNET_LOCAL_RAY_METRICS_PORT=str(free_port()),
        # Ten seconds otherwise, for which tests of metrics would wait again and again.
        RAY_metrics_report_interval_ms="1000",
    ).start()
    yield control_plane
    control_plane.stop()
