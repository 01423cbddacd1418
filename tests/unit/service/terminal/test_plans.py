import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.client.client import Client
from service.control_plane import ControlPlane
from service.terminal.cli import app
from service.terminal.plans import CalibrationError

pytestmark = pytest.mark.usefixtures("http")


def run(plane: ControlPlane, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--url", plane.settings.advertised_url])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def spec_file(tmp_path: Path, request_body: dict[str, Any]) -> str:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(request_body))
    return str(file)


def test_a_plan_is_a_table_and_submits_nothing(plane: ControlPlane, spec_file: str) -> None:
    before = len(plane.store.jobs(limit=1000))
    planned = run(plane, "plan", spec_file, "--set", "optim.epochs=2")
    assert "2, 1 an epoch, 2 epochs" in planned
    assert "train-00000.tar is missing" in planned
    assert "unknown: Ray: not reached yet" in planned
    speed = "not known: without the cluster it is not known which jobs are like this one (Ray: "
    assert speed in " ".join(planned.split())
    assert run(plane, "submit", spec_file, "--plan", "--set", "optim.epochs=2") == planned
    document = json.loads(run(plane, "plan", spec_file, "--json"))
    assert document["plan"]["steps"] == 12
    assert len(plane.store.jobs(limit=1000)) == before


def test_a_clone_is_submitted_with_changes(plane: ControlPlane, spec_file: str) -> None:
    first = json.loads(run(plane, "submit", spec_file, "--json"))
    changed = run(plane, "clone", first["id"], "--set", "optim.learning_rate=0.5", "--json")
    clone = json.loads(changed)
    assert clone["cloned_from"] == first["id"]
    assert clone["spec"]["optim"]["learning_rate"] == 0.5
    with Client(plane.settings.advertised_url) as client:
        assert client.get(clone["id"]).plan is not None
    assert "a clone of" in run(plane, "clone", first["id"])


def test_what_this_machine_measures_is_said_to_be_so(
    plane: ControlPlane, spec_file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\necho warming\necho \'{"images_per_second": 40, "steps": 9, "seconds": 5}\'\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr("service.terminal.plans.sys.executable", str(python))
    speed = json.loads(run(plane, "plan", spec_file, "--calibrate", "--json"))["plan"]["speed"]
    assert (speed["images_per_second"], speed["duration_s"]) == (40.0, 12 * 20 / 40)
    assert "9 steps in 5.0 s" in speed["basis"]
    python.write_text("#!/bin/sh\necho no torch >&2\nexit 1\n")
    with pytest.raises(CalibrationError, match="no torch"):
        run(plane, "plan", spec_file, "--calibrate")
