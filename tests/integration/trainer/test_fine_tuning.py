"""Fine-tuning as people do it: train, then go on with another classifier, or another layer."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.acceptance.product import draw_images, pack
from tests.integration.trainer.conftest import Shards, final_weights, train, write_job
from trainer.contract.checkpoint_folder import latest_checkpoint
from trainer.contract.run_directory import RunDirectory

pytestmark = pytest.mark.slow

NUM_CLASSES = 5
# So small a rate that after a step the weights still are what they began as.
NO_STEP = 1e-30


@pytest.fixture(scope="module")
def origin(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run that learned ten classes well."""
    folder = tmp_path_factory.mktemp("origin")
    optim = {"global_batch_size": 16, "epochs": 8}
    done = train(write_job(folder, shards, optim=optim), folder / "run")
    assert done.returncode == 0, done.stderr
    return _latest(folder / "run")


@pytest.fixture(scope="module")
def five_classes(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """The first five of the ten classes, other images."""
    root = tmp_path_factory.mktemp("five")

    def packed(split: str, num_images: int, seed: int) -> Path:
        images = draw_images(root / f"images-{split}", num_images=num_images, seed=seed)
        for label in range(NUM_CLASSES, 10):
            shutil.rmtree(images / f"class-{label}")
        return pack(images, root / split, split=split)

    return Shards(train=packed("train", 300, 3), validation=packed("validation", 90, 4))


def _latest(run_dir: Path) -> Path:
    latest = latest_checkpoint(RunDirectory(run_dir)).checkpoint
    assert latest is not None
    return latest.folder


def _job(folder: Path, shards: Shards, origin: Path, *new_layers: str, **over: Any) -> Path:
    fields = {
        "seed": 8,
        "model": {"width": 0.125, "num_classes": NUM_CLASSES},
        "optim": {"global_batch_size": 16, "epochs": 2, "learning_rate": 0.001},
        "init_from": {"checkpoint": str(origin), "new_layers": new_layers},
    }
    return write_job(folder, shards, **{**fields, **over})


def _began_with(run_dir: Path, origin: Path) -> set[str]:
    """Return the layers whose weights are the origin's."""
    before, now = (load_file(folder / "model.safetensors") for folder in (origin, _latest(run_dir)))
    same: set[str] = set()
    other: set[str] = set()
    for name, weight in now.items():
        fits = name in before and weight.shape == before[name].shape
        equal = fits and bool(np.allclose(weight, before[name], rtol=0, atol=1e-25))
        (same if equal else other).add(name.split(".")[-2])
    return same - other


def test_the_towers_begin_as_they_were_and_the_classifier_anew(
    five_classes: Shards, origin: Path, tmp_path: Path
) -> None:
    optim = {"global_batch_size": 16, "max_steps": 1, "learning_rate": NO_STEP}
    done = train(_job(tmp_path, five_classes, origin, "fc8", optim=optim), tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert f"beginning with the weights of {origin}" in done.stderr
    layers = {"conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"}
    assert _began_with(tmp_path / "run", origin) == layers
    weights = load_file(_latest(tmp_path / "run") / "model.safetensors")
    assert len(weights["fc8.weight"]) == NUM_CLASSES
    assert weights["fc8.weight"].std() > 0


def test_fine_tuning_learns_says_where_it_began_and_resumes_without_its_origin(
    five_classes: Shards, origin: Path, tmp_path: Path
) -> None:
    own = tmp_path / "origin" / origin.name
    shutil.copytree(origin, own)
    run_dir, job = tmp_path / "run", _job(tmp_path, five_classes, own, "fc8")
    done = train(job, run_dir)
    assert done.returncode == 0, done.stderr
    report = json.loads((run_dir / "report.json").read_text())
    # Chance is 0.2.
    assert report["top1"] > 0.4
    manifest = json.loads((_latest(run_dir) / "checkpoint.json").read_text())
    origin_manifest = json.loads((own / "checkpoint.json").read_text())
    assert manifest["started_from"] == report["started_from"]
    assert report["started_from"] == {
        "checkpoint": str(own),
        "job_id": origin_manifest["job_id"],
        "step": origin_manifest["step"],
        "weights_sha256": origin_manifest["files"]["model.safetensors"]["sha256"],
        "new_layers": ["fc8"],
    }

    final = final_weights(run_dir)
    shutil.rmtree(own)
    shutil.rmtree(_latest(run_dir))
    (run_dir / "report.json").unlink()
    done = train(job, run_dir, "--resume")
    assert done.returncode == 0, done.stderr
    assert final_weights(run_dir) == final
    assert json.loads((run_dir / "report.json").read_text())["attempts"] == 2


def test_a_sixth_convolution_is_put_into_a_trained_network_and_goes_on_to_other_classes(
    shards: Shards, five_classes: Shards, origin: Path, tmp_path: Path
) -> None:
    """The paper's CNN*: five layers are taken, conv6 learns with new layers above; then fc8."""
    optim = {"global_batch_size": 16, "max_steps": 1, "learning_rate": NO_STEP}
    six = {"width": 0.125, "sixth_conv": True}
    above = ("conv6", "fc6", "fc7", "fc8")
    job = _job(tmp_path, shards, origin, *above, optim=optim, model=six)
    done = train(job, tmp_path / "six")
    assert done.returncode == 0, done.stderr
    assert _began_with(tmp_path / "six", origin) == {"conv1", "conv2", "conv3", "conv4", "conv5"}

    pretrained = _latest(tmp_path / "six")
    five = {**six, "num_classes": NUM_CLASSES}
    job = _job(tmp_path, five_classes, pretrained, "fc8", optim=optim, model=five)
    done = train(job, tmp_path / "five")
    assert done.returncode == 0, done.stderr
    assert {"conv1", "conv6", "fc6", "fc7"} < _began_with(tmp_path / "five", pretrained)


def test_what_does_not_fit_or_is_not_there_is_refused_with_the_mend(
    five_classes: Shards, origin: Path, tmp_path: Path
) -> None:
    done = train(_job(tmp_path, five_classes, origin), tmp_path / "without")
    outcome = json.loads(done.stdout)
    assert (done.returncode, outcome["reason"]) == (1, "bad_spec")
    assert 'draw these layers anew by new_layers = ["fc8"]' in outcome["message"]
    assert "Traceback" not in done.stderr

    done = train(_job(tmp_path, five_classes, tmp_path / "nowhere", "fc8"), tmp_path / "missing")
    outcome = json.loads(done.stdout)
    assert (done.returncode, outcome["reason"]) == (1, "bad_data")
    assert outcome["message"].startswith(f"init_from.checkpoint: checkpoint {tmp_path}/nowhere")
    assert "Traceback" not in done.stderr
