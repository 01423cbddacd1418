"""An attempt in one of two Rays on a machine."""

import json
import sys
from pathlib import Path

import pytest

from tests.acceptance.product import draw_images, pack
from tests.integration.service.running_ray import running_ray
from tests.waiting import wait_for
from trainer.contract.attempt import AttemptOrder
from trainer.contract.order_file import write_order
from trainer.contract.presets import expand_preset
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import JobSpec

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]

# What Ray says where one of its processes does not know of which it is.
ASTRAY = "multiple active Ray instances"
# Which Ray Train asks, every second, whether the actor lives that leads an attempt.
ASKED = "GET /api/v0/actors?"


@pytest.fixture
def endless(tmp_path: Path) -> AttemptDirectory:
    """An attempt that trains until it is stopped."""
    data = {}
    for split, num_images in (("train", 100), ("validation", 20)):
        images = draw_images(tmp_path / f"{split}-images", num_images=num_images, seed=num_images)
        data[split] = str(pack(images, tmp_path / split, split=split))
    request = {
        "preset": "small",
        "name": "endless",
        "data": data,
        "model": {"width": 0.125},
        "optim": {"epochs": 10_000},
        "scale": {"cpus_per_replica": 1, "accelerator": "cpu"},
    }
    spec = JobSpec.model_validate(expand_preset(request))
    attempt = RunDirectory(tmp_path / "run").attempt(1)
    write_order(
        attempt,
        AttemptOrder(job_id="run", attempt=1, spec=spec, accelerator="cpu", resume_from=None),
    )
    return attempt


def test_what_ray_train_starts_finds_the_ray_that_it_is_of(
    tmp_path: Path, endless: AttemptDirectory
) -> None:
    def is_astray() -> bool:
        return endless.log.exists() and ASTRAY in endless.log.read_text()

    with (
        running_ray(tmp_path / "another", num_cpus=1),
        running_ray(tmp_path / "ours", num_cpus=2) as ours,
    ):
        temp_dir = Path(json.loads((tmp_path / "ours" / "ray.json").read_text())["temp_dir"])
        (served,) = temp_dir.glob("session_2*/logs/dashboard.log")
        command = [sys.executable, "-m", "trainer", "attempt", str(endless.path)]
        ours.submit("run-1", command, None)
        wait_for(
            "Ray Train to have looked for its Ray",
            lambda: ASKED in served.read_text() or is_astray(),
            timeout_s=120,
        )
        assert not is_astray()
