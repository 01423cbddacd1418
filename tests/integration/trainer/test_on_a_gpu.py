"""`python -m trainer` on a real GPU, both towers on it: killed, it goes on to the same bits."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.gpu import needs_gpu
from tests.integration.trainer.conftest import Shards, final_weights, train, write_job
from tests.integration.trainer.test_train_here import interrupt

pytestmark = [pytest.mark.slow, needs_gpu]

ONE_GPU = {"accelerator": "gpu", "devices_per_replica": 1}
NUM_STEPS = 60


@pytest.mark.parametrize("micro_batch_size", [None, 8])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_that_was_killed_ends_with_the_same_weights(
    shards: Shards, tmp_path: Path, precision: str, micro_batch_size: int | None
) -> None:
    optim = {"global_batch_size": 16, "micro_batch_size": micro_batch_size, "max_steps": NUM_STEPS}
    job = write_job(tmp_path, shards, precision=precision, optim=optim, scale=ONE_GPU)
    done = train(job, tmp_path / "undisturbed")
    assert done.returncode == 0, done.stderr
    interrupt(job, tmp_path / "killed", signal.SIGKILL, step=24)
    done = train(job, tmp_path / "killed", "--resume")
    assert done.returncode == 0, done.stderr
    assert "not bit-exact" not in done.stderr
    assert final_weights(tmp_path / "killed") == final_weights(tmp_path / "undisturbed")


def test_a_loss_that_is_not_finite_ends_the_run(shards: Shards, tmp_path: Path) -> None:
    optim: dict[str, Any] = {"global_batch_size": 16, "learning_rate": 100.0, "max_steps": 50}
    done = train(write_job(tmp_path, shards, optim=optim, scale=ONE_GPU), tmp_path / "run")
    outcome = json.loads(done.stdout)
    assert (done.returncode, outcome["reason"]) == (1, "nonfinite_loss")
