import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from trainer.__main__ import app
from trainer.contract.spec import JobSpec
from trainer.running.calibrate import calibrate

CPU = torch.device("cpu")


@pytest.mark.parametrize("recipe", ["paper", "source2012"])
def test_steps_are_counted_until_the_time_is_over(job: Callable[..., JobSpec], recipe: str) -> None:
    ticks = iter(range(100))
    spec = job(model={"recipe": recipe, "width": 0.05, "input_size": 64, "num_classes": 3})
    measured = calibrate(spec, (CPU, CPU), seconds=4, clock=lambda: float(next(ticks)))
    # The clock is read at the beginning, before each step but the first, and at the end.
    assert (measured.steps, measured.seconds) == (4, 5.0)
    assert measured.images_per_second == 4 * spec.replica_batch_size / 5


def test_the_command_prints_json_on_its_last_line(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    document = {
        "name": "a job",
        "data": {"train": "none", "validation": "none"},
        "model": {"width": 0.05, "input_size": 64, "num_classes": 3},
        "optim": {"global_batch_size": 8},
    }
    file.write_text(json.dumps(document))
    done = CliRunner().invoke(app, ["calibrate", str(file), "--seconds", "0"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["steps"] == 1
    file.write_text("{}")
    refused = CliRunner().invoke(app, ["calibrate", str(file)])
    assert refused.exit_code == 2
    assert "name" in refused.output
