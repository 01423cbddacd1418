"""`python -m trainer` as people use it: trains, is stopped and killed, goes on, fails by name."""

import hashlib
import json
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from safetensors.numpy import load_file, save_file

from tests.acceptance.product import ledger_lines
from tests.integration.trainer.conftest import (
    EPOCHS,
    NUM_TRAINING_IMAGES,
    NUM_VALIDATION_IMAGES,
    Shards,
    command,
    final_weights,
    train,
    write_job,
)
from tests.ledgers import presented
from tests.waiting import wait_for
from trainer.contract.report import TrainingReport

pytestmark = pytest.mark.slow

NUM_STEPS = 104


@pytest.fixture(scope="module")
def job(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_job(tmp_path_factory.mktemp("job"), shards)


@pytest.fixture(scope="module")
def undisturbed(job: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    done = train(job, run_dir)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"outcome": "succeeded", "step": NUM_STEPS}
    return run_dir


def test_a_run_learns_and_leaves_its_report(undisturbed: Path) -> None:
    report = TrainingReport.model_validate_json((undisturbed / "report.json").read_bytes())
    assert (report.steps, report.epochs, report.attempts) == (NUM_STEPS, EPOCHS, 1)
    assert report.validation_samples == NUM_VALIDATION_IMAGES
    # Chance is 0.1.
    assert report.top1 > 0.3
    assert report.weights_sha256 == final_weights(undisturbed)
    _assert_each_sample_once_an_epoch(undisturbed)


def _assert_each_sample_once_an_epoch(run_dir: Path) -> None:
    ledger = presented(run_dir)
    assert ledger.steps_done == NUM_STEPS
    for epoch in range(EPOCHS):
        assert Counter(ledger.epochs[epoch]) == Counter(range(NUM_TRAINING_IMAGES))


def interrupt(job: Path, run_dir: Path, how: signal.Signals, *arguments: str, step: int) -> str:
    """Start an attempt, end it at about a step, and return what it said on standard error."""
    with subprocess.Popen(
        command(job, run_dir, *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:

        def reached() -> bool:
            assert process.poll() is None, "it ended before it could be interrupted"
            attempts = sorted(run_dir.glob("attempts/*"))
            lines = ledger_lines(attempts[-1]) if attempts else []
            return bool(lines) and lines[-1]["step"] >= step

        wait_for(f"step {step}", reached, timeout_s=120)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
    assert process.returncode == (-how if how is signal.SIGKILL else 130)
    assert children, "loaders were to be seen"
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    return said


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_twice_ends_with_the_same_weights(
    job: Path, undisturbed: Path, tmp_path: Path, how: signal.Signals
) -> None:
    run_dir = tmp_path / "run"
    interrupt(job, run_dir, how, step=14)
    said = interrupt(job, run_dir, how, "--resume", step=47)
    if how is signal.SIGINT:
        assert f"--spec {job} --run-dir {run_dir} --resume" in said
    done = train(job, run_dir, "--resume")
    assert done.returncode == 0, done.stderr
    assert final_weights(run_dir) == final_weights(undisturbed)
    _assert_each_sample_once_an_epoch(run_dir)
    report = TrainingReport.model_validate_json((run_dir / "report.json").read_bytes())
    assert report.attempts == 3
    assert report.steps_redone == presented(run_dir).steps_redone > 0


def test_the_comparison_notices_a_velocity_of_zero(
    job: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    interrupt(job, run_dir, signal.SIGKILL, step=14)
    _zero_velocity(run_dir)
    done = train(job, run_dir, "--resume")
    assert done.returncode == 0, done.stderr
    assert final_weights(run_dir) != final_weights(undisturbed)


def _zero_velocity(run_dir: Path) -> None:
    folder = max(run_dir.glob("attempts/*/checkpoints/step-*"), key=lambda path: path.name)
    file, manifest_file = folder / "velocity.safetensors", folder / "checkpoint.json"
    save_file({name: 0 * tensor for name, tensor in load_file(file).items()}, file)
    content = file.read_bytes()
    manifest = json.loads(manifest_file.read_text())
    manifest["files"][file.name] = {
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    manifest["manifest_sha256"] = None
    manifest_file.write_text(json.dumps(manifest))


def test_a_damaged_checkpoint_costs_steps_but_no_bits(
    job: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    interrupt(job, run_dir, signal.SIGKILL, step=34)
    latest = max(run_dir.glob("attempts/*/checkpoints/step-*"), key=lambda path: path.name)
    file = latest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    done = train(job, run_dir, "--resume")
    assert done.returncode == 0, done.stderr
    assert f"{latest.name}: model.safetensors has" in done.stderr
    assert final_weights(run_dir) == final_weights(undisturbed)


def test_resuming_what_is_done_changes_nothing(
    job: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(undisturbed, run_dir)
    (run_dir / "report.json").unlink()
    done = train(job, run_dir, "--resume")
    assert json.loads(done.stdout) == {"outcome": "succeeded", "step": NUM_STEPS}
    assert final_weights(run_dir) == final_weights(undisturbed)
    before = TrainingReport.model_validate_json((undisturbed / "report.json").read_bytes())
    after = TrainingReport.model_validate_json((run_dir / "report.json").read_bytes())
    assert (after.top1, after.weights_sha256) == (before.top1, before.weights_sha256)


def test_another_spec_is_not_resumed(undisturbed: Path, shards: Shards, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(undisturbed, run_dir)
    done = train(write_job(tmp_path, shards, seed=8), run_dir, "--resume")
    assert done.returncode == 1
    outcome = json.loads(done.stdout)
    assert outcome["reason"] == "bad_spec"
    assert "was written by a job with another spec" in outcome["message"]


def test_the_same_data_elsewhere_are_resumed_and_other_data_are_not(
    undisturbed: Path, shards: Shards, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(undisturbed, run_dir)
    moved = Shards(
        train=shutil.copytree(shards.train.parent, tmp_path / "train") / "manifest.json",
        validation=shutil.copytree(shards.validation.parent, tmp_path / "other") / "manifest.json",
    )
    done = train(write_job(tmp_path, moved), run_dir, "--resume")
    assert done.returncode == 0, done.stderr
    assert "not bit-exact" not in done.stderr

    manifest = json.loads(moved.validation.read_text())
    manifest["rgb_pca"]["eigenvalues"][0] += 1
    moved.validation.write_text(json.dumps(manifest))
    done = train(write_job(tmp_path, moved), run_dir, "--resume")
    outcome = json.loads(done.stdout)
    assert (done.returncode, outcome["reason"]) == (1, "bad_data")
    assert "trained on other data: the content of data.validation" in outcome["message"]
    assert "Traceback" not in done.stderr


def test_a_resume_on_another_micro_batch_says_that_it_is_not_exact(
    undisturbed: Path, shards: Shards, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(undisturbed, run_dir)
    optim = {"global_batch_size": 16, "epochs": EPOCHS, "micro_batch_size": 4}
    done = train(write_job(tmp_path, shards, optim=optim), run_dir, "--resume")
    assert done.returncode == 0, done.stderr
    assert "not bit-exact: micro-batch was 16 and is 4" in done.stderr


def _damage_missing(shard: Path) -> None:
    shard.unlink()


def _damage_flipped(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


@pytest.mark.parametrize("damage", [_damage_missing, _damage_flipped])
def test_a_damaged_shard_fails_the_run_by_its_name(
    shards: Shards, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    copied = tmp_path / "train"
    shutil.copytree(shards.train.parent, copied)
    shard = max(copied.glob("*.tar"))
    damage(shard)
    data = {"train": str(copied / "manifest.json"), "validation": str(shards.validation)}
    done = train(write_job(tmp_path, shards, data=data), tmp_path / "run")
    outcome = json.loads(done.stdout)
    assert done.returncode == 1
    assert (outcome["outcome"], outcome["reason"]) == ("failed", "bad_data")
    assert shard.name in outcome["message"]
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "run/attempts/0001/outcome.json").read_text()) == {
        **outcome,
        "step": outcome.get("step"),
    }


def test_a_loss_that_is_not_finite_names_the_step(shards: Shards, tmp_path: Path) -> None:
    optim = {"global_batch_size": 16, "learning_rate": 100.0, "max_steps": 50}
    done = train(write_job(tmp_path, shards, optim=optim), tmp_path / "run")
    outcome = json.loads(done.stdout)
    assert done.returncode == 1
    assert outcome["reason"] == "nonfinite_loss"
    # The step is the first that the ledger lacks: its weights were left as they were.
    step = ledger_lines(tmp_path / "run/attempts/0001")[-1]["step"] + 1
    assert outcome["message"].startswith(f"step {step}: the loss is not finite")
    assert "optim.learning_rate" in outcome["message"]


def test_more_classes_than_the_network_are_refused(shards: Shards, tmp_path: Path) -> None:
    model = {"width": 0.125, "num_classes": 9}
    done = train(write_job(tmp_path, shards, model=model), tmp_path / "run")
    outcome = json.loads(done.stdout)
    assert (done.returncode, outcome["reason"]) == (1, "bad_spec")
    assert outcome["message"].startswith("model.num_classes: the shards have 10 classes")
