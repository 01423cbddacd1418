"""A run whose worker is killed twice ends with the undisturbed run's weights, bit for bit."""

import hashlib
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests.acceptance.conftest import NUM_TRAINING_IMAGES, Shards
from tests.acceptance.product import ControlPlane, ledger_lines
from tests.ledgers import presented
from tests.waiting import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

SEED = 20121203
EPOCHS = 3
INTERVAL_STEPS = 20


def _spec(shards: Shards) -> dict[str, object]:
    return shards.spec(
        seed=7,
        optim={"global_batch_size": 64, "epochs": EPOCHS},
        scale={"cpus_per_replica": 1},
        checkpoint={"interval_steps": INTERVAL_STEPS},
        retry={"backoff_s": 3.0},
    )


@pytest.fixture(scope="module")
def undisturbed(control_plane: ControlPlane, shards: Shards) -> str:
    job_id = control_plane.submit(**_spec(shards))
    control_plane.wait_status(job_id, "SUCCEEDED", timeout_s=180)
    return _weights(control_plane, job_id)


def _weights(control_plane: ControlPlane, job_id: str) -> str:
    """Return the digest of the final weights, taken from the file itself."""
    checkpoints = control_plane.http.get(f"/jobs/{job_id}/checkpoints").json()["checkpoints"]
    last = max(checkpoints, key=lambda checkpoint: checkpoint["step"])
    file = control_plane.run_directory(job_id) / last["path"] / "model.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digest == last["weights_sha256"]
    return digest


def _has_reached(attempt: Path, step: int) -> bool:
    return any(line["step"] >= step for line in ledger_lines(attempt))


def _run_killed_twice(
    control_plane: ControlPlane,
    shards: Shards,
    *,
    before_retry: Callable[[Path], None] = lambda run: None,
) -> str:
    moments = random.Random(SEED)
    job_id = control_plane.submit(**_spec(shards))
    run = control_plane.run_directory(job_id)
    for attempt, interval in ((1, moments.randrange(1, 3)), (2, moments.randrange(4, 6))):
        step = interval * INTERVAL_STEPS + moments.randrange(4, 12)
        folder = run / "attempts" / f"{attempt:04d}"
        reached = wait_for(
            f"step {step} of attempt {attempt}",
            partial(_has_reached, folder, step),
            timeout_s=120,
        )
        assert reached
        started = json.loads((folder / "events.jsonl").read_text().splitlines()[0])
        (worker,) = started["data"]["worker_pids"]
        os.kill(worker, signal.SIGKILL)
        control_plane.wait_status(job_id, "RETRYING", timeout_s=90)
        before_retry(run)
    control_plane.wait_status(job_id, "SUCCEEDED", timeout_s=180)
    assert len(control_plane.job(job_id)["attempts"]) == 3
    return job_id


def test_killed_twice_gives_the_same_weights_and_an_exact_ledger(
    control_plane: ControlPlane, shards: Shards, undisturbed: str
) -> None:
    job_id = _run_killed_twice(control_plane, shards)
    assert _weights(control_plane, job_id) == undisturbed
    ledger = presented(control_plane.run_directory(job_id))
    for epoch in range(EPOCHS):
        assert Counter(ledger.epochs[epoch]) == Counter(range(NUM_TRAINING_IMAGES))
    assert ledger.steps_redone > 0
    report = json.loads((control_plane.run_directory(job_id) / "report.json").read_text())
    assert report["steps_redone"] == ledger.steps_redone
    print(f"seed {SEED}: {ledger.steps_redone} steps redone over two kills")


def test_the_comparison_notices_a_velocity_of_zero(
    control_plane: ControlPlane, shards: Shards, undisturbed: str
) -> None:
    job_id = _run_killed_twice(control_plane, shards, before_retry=_zero_velocity)
    assert _weights(control_plane, job_id) != undisturbed


def _zero_velocity(run: Path) -> None:
    last = max(run.glob("attempts/*/checkpoints/step-*"), key=lambda folder: folder.name)
    file, manifest_file = last / "velocity.safetensors", last / "checkpoint.json"
    tensors = load_file(file)
    for tensor in tensors.values():
        tensor[...] = 0
    save_file(tensors, file)
    manifest = json.loads(manifest_file.read_text())
    content = file.read_bytes()
    manifest["files"]["velocity.safetensors"] = {
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    manifest["manifest_sha256"] = None
    manifest_file.write_text(json.dumps(manifest))
