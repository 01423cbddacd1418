"""`kind: evaluate` as people use it: one checkpoint, an ensemble, and what cannot be evaluated."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from safetensors.torch import load_file

from tests.acceptance.recompute_top1 import CROP, forward, samples
from tests.integration.trainer.conftest import (
    NUM_VALIDATION_IMAGES,
    Shards,
    train,
    write_job,
)
from trainer.contract.checkpoint_folder import list_folders
from trainer.contract.report import EvaluationReport, TrainingReport
from trainer.contract.run_directory import RunDirectory

pytestmark = pytest.mark.slow

# Two networks that differ in all but their classes.
MODELS = {"narrow": {"width": 0.125}, "wide": {"width": 0.1875}}


@pytest.fixture(scope="module")
def trained(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run directory of each network, trained for a while and tested by ten views."""
    root = tmp_path_factory.mktemp("trained")
    for seed, (name, model) in enumerate(MODELS.items()):
        job = write_job(
            root,
            shards,
            seed=seed,
            model=model,
            optim={"global_batch_size": 16, "epochs": 2},
            evaluation={"protocol": "ten_view"},
        )
        done = train(job, root / name)
        assert done.returncode == 0, done.stderr
    return {name: root / name for name in MODELS}


def _folder(run_dir: Path) -> Path:
    return list_folders(RunDirectory(run_dir))[0]


def _write_evaluation(folder: Path, shards: Shards, *checkpoints: object) -> Path:
    evaluation = {"protocol": "ten_view", "checkpoints": [str(one) for one in checkpoints]}
    return write_job(folder, shards, kind="evaluate", evaluation=evaluation)


def _evaluate(folder: Path, shards: Shards, *checkpoints: object) -> EvaluationReport:
    done = train(_write_evaluation(folder, shards, *checkpoints), folder / "run")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"outcome": "succeeded"}
    return _report(folder / "run")


def _report(run_dir: Path) -> EvaluationReport:
    return EvaluationReport.model_validate_json((run_dir / "report.json").read_bytes())


def _trained_report(run_dir: Path) -> TrainingReport:
    return TrainingReport.model_validate_json((run_dir / "report.json").read_bytes())


def _recomputed(shards: Shards, *folders: Path) -> tuple[float, float, float]:
    """Return top-1, top-5 and loss of the mean of all ten-view softmaxes, from the files alone."""
    images, labels = zip(*samples(shards.validation.parent), strict=True)
    margin = images[0].shape[0] - CROP
    middle = margin // 2
    places = [(0, 0), (0, margin), (margin, 0), (margin, margin), (middle, middle)]
    softmaxes = []
    for folder in folders:
        weights = load_file(folder / "model.safetensors")
        for row, column in places:
            crops = np.stack([x[row : row + CROP, column : column + CROP] for x in images])
            for seen in (crops, crops[:, :, ::-1]):
                with torch.inference_mode():
                    logits = forward(weights, _batch(seen))
                softmaxes.append(logits.double().softmax(1))
    mean = torch.stack(softmaxes).mean(0)
    truth = torch.tensor(labels)
    guesses = mean.topk(5, dim=1).indices
    hits = guesses == truth[:, None]
    return (
        hits[:, 0].double().mean().item(),
        hits.any(dim=1).double().mean().item(),
        F.nll_loss(mean.log(), truth).item(),
    )


def _batch(images: npt.NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2)


def _same(found: Any, expected: tuple[float, float, float], loss: float) -> None:
    assert (found.top1, found.top5) == pytest.approx(expected[:2])
    # Two decoders of JPEG differ by a grey level here and there.
    assert loss == pytest.approx(expected[2], rel=2e-3)


def test_a_network_is_what_its_files_say_and_what_training_said_at_its_end(
    shards: Shards, trained: dict[str, Path], tmp_path: Path
) -> None:
    run_dir = trained["narrow"]
    report = _evaluate(tmp_path, shards, _folder(run_dir))
    _same(report, _recomputed(shards, _folder(run_dir)), report.validation_loss)
    assert report.validation_samples == NUM_VALIDATION_IMAGES
    before = _trained_report(run_dir)
    centre, ten = before.results
    assert (centre.protocol, ten.protocol) == ("centre_crop", "ten_view")
    assert (ten.top1, ten.top5, ten.loss) == (report.top1, report.top5, report.validation_loss)
    assert centre.loss != ten.loss
    assert (before.protocol, before.top1) == ("ten_view", ten.top1)


def test_an_ensemble_is_what_the_files_of_its_networks_say(
    shards: Shards, trained: dict[str, Path], tmp_path: Path
) -> None:
    folders = [_folder(run_dir) for run_dir in trained.values()]
    report = _evaluate(tmp_path, shards, *folders)
    _same(report, _recomputed(shards, *folders), report.validation_loss)
    for network, folder in zip(report.networks, folders, strict=True):
        _same(network, _recomputed(shards, folder), network.loss)
        assert network.checkpoint == str(folder)
    assert [network.model.width for network in report.networks] == [0.125, 0.1875]
    assert report.validation_loss < max(network.loss for network in report.networks)
    ours, *published = report.comparison
    assert (ours.network, ours.num_networks, ours.source) == ("2 CNNs", 2, "this job")
    assert ours.top1_error == 1 - report.top1
    assert [row.network for row in published][:4] == ["1 CNN", "5 CNNs", "1 CNN*", "7 CNNs*"]
    assert "no comparison with them is claimed" in report.notes[0]
    assert "| 2 CNNs | ten views |" in (tmp_path / "run/report.md").read_text()
    # Nothing was trained.
    assert not list((tmp_path / "run").glob("attempts/*/ledger-*"))
    assert not list((tmp_path / "run").glob("attempts/*/checkpoints"))


def test_training_reports_its_best_epoch(trained: dict[str, Path]) -> None:
    run_dir = trained["narrow"]
    events = [
        json.loads(line)["data"]
        for line in (run_dir / "attempts/0001/events.jsonl").read_text().splitlines()
    ]
    centre = [
        event["top1"]
        for event in events
        if event["kind"] == "evaluated" and event["protocol"] == "centre_crop"
    ]
    assert len(centre) == 2
    best = _trained_report(run_dir).best_epoch
    assert best is not None
    assert best.top1 == max(centre)


def test_a_checkpoint_that_is_gone_fails_the_job_by_its_name(
    shards: Shards, trained: dict[str, Path], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    job = _write_evaluation(tmp_path, shards, _folder(trained["narrow"]), gone)
    done = train(job, tmp_path / "run")
    outcome = json.loads(done.stdout)
    # Of the reasons that are not tried again.
    assert (done.returncode, outcome["reason"]) == (1, "bad_data")
    assert outcome["message"].startswith(f"evaluation.checkpoints.1: checkpoint {gone}: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run/report.json").exists()
