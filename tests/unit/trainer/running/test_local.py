import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.trainer.runs import add_attempt
from trainer.__main__ import app
from trainer.contract.run_directory import RunDirectory
from trainer.errors import BadSpecError
from trainer.running.local import read_preset, read_spec

REQUEST: dict[str, Any] = {"preset": "small", "name": "job"} | {
    "data": {"train": "t", "validation": "v"}
}


def _file(tmp_path: Path, request: object) -> Path:
    file = tmp_path / "job.json"
    file.write_text(request if isinstance(request, str) else json.dumps(request))
    return file


def test_a_preset_is_expanded_and_overridden(tmp_path: Path) -> None:
    spec = read_spec(_file(tmp_path, {**REQUEST, "model": {"num_classes": 7}}))
    assert spec.model.num_classes == 7
    assert spec.model.width == read_preset("small").model.width


@pytest.mark.parametrize(
    ("request_json", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "does not hold a JSON object"),
        ({**REQUEST, "preset": "huge"}, "there is no preset 'huge'"),
        ({**REQUEST, "model": {"depth": 3}}, "model.depth: Extra inputs are not permitted"),
        (
            {**REQUEST, "optim": {"global_batch_size": 30}},
            "job.json: optim.global_batch_size: 30 is not divisible by data.num_streams = 8",
        ),
    ],
)
def test_a_bad_spec_is_named_with_its_field(
    tmp_path: Path, request_json: object, message: str
) -> None:
    with pytest.raises(BadSpecError) as error:
        read_spec(_file(tmp_path, request_json))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "attempts", "message"),
    [
        (["--resume"], 0, "holds no run to resume; leave --resume out"),
        ([], 1, "holds a run already; go on with it by --resume"),
    ],
)
def test_a_run_directory_is_neither_overwritten_nor_invented(
    tmp_path: Path, arguments: list[str], attempts: int, message: str
) -> None:
    run = RunDirectory(tmp_path / "run")
    for _ in range(attempts):
        add_attempt(run)
    spec = _file(tmp_path, REQUEST)
    result = CliRunner().invoke(app, ["--spec", str(spec), "--run-dir", str(run.path), *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert run.newest_attempt() == attempts


def test_a_run_directory_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    run_dir = in_the_way / "run"
    spec = _file(tmp_path, REQUEST)
    result = CliRunner().invoke(app, ["--spec", str(spec), "--run-dir", str(run_dir)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"--run-dir {run_dir} cannot be written to (")
    assert result.stderr.endswith("name a folder that can be\n")
    assert result.stderr.count("\n") == 1


def test_a_run_directory_whose_disk_is_away_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_run: RunDirectory) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("trainer.running.local.latest_checkpoint", fail)
    spec, run_dir = _file(tmp_path, REQUEST), tmp_path / "run"
    result = CliRunner().invoke(app, ["--spec", str(spec), "--run-dir", str(run_dir)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"--run-dir {run_dir} cannot be read (")


def test_a_run_directory_on_a_full_disk_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill)
    spec, run = _file(tmp_path, REQUEST), RunDirectory(tmp_path / "run")
    result = CliRunner().invoke(app, ["--spec", str(spec), "--run-dir", str(run.path)])
    assert result.exit_code == 2
    assert result.stderr == (
        f"--run-dir: {run.attempt(1).order} cannot be written: No space left on device; "
        "free space there, then resume\n"
    )


@pytest.mark.parametrize(
    ("accelerator", "num_gpus", "message"),
    [
        (
            "gpu",
            1,
            "scale.devices_per_replica: 2 GPUs are asked for, torch sees 1; "
            "set it to 1, or scale.accelerator = cpu\n",
        ),
        (
            "auto",
            1,
            "scale.devices_per_replica: 2 GPUs are asked for, torch sees 1; "
            "set it to 1, or scale.accelerator = cpu\n",
        ),
        ("gpu", 0, "scale.accelerator: gpu is asked for, torch sees none; set it to cpu\n"),
    ],
)
def test_devices_that_are_not_there_are_refused_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accelerator: str,
    num_gpus: int,
    message: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: num_gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: num_gpus)
    scale = {"accelerator": accelerator, "devices_per_replica": 2}
    spec = _file(tmp_path, {**REQUEST, "scale": scale})
    result = CliRunner().invoke(app, ["--spec", str(spec), "--run-dir", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert result.stderr == message
    assert not (tmp_path / "run").exists()


def test_both_options_are_needed() -> None:
    result = CliRunner().invoke(app, ["--spec", "job.json"])
    assert result.exit_code == 2
    assert "name both --spec job.json and --run-dir DIR" in result.stderr


@pytest.mark.parametrize(
    ("changes", "mend"),
    [
        ({}, "go on from the latest checkpoint"),
        ({"kind": "evaluate", "evaluation": {"checkpoints": ["c"]}}, "begin again"),
        ({"kind": "calibrate"}, "begin again"),
    ],
)
def test_who_interrupts_is_told_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], mend: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.__main__.train_here", interrupt)
    spec = _file(tmp_path, REQUEST | changes)
    result = CliRunner().invoke(app, ["--spec", str(spec), "--run-dir", "a run"])
    assert result.exit_code == 130
    assert result.stderr == (
        f"stopped; {mend} with: python -m trainer --spec {spec} --run-dir 'a run' --resume\n"
    )


def test_an_order_names_data_that_mean_the_same_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = {**REQUEST, "data": {"train": "a/train", "validation": "/b"}}
    # Nothing is packed there: the attempt fails, but its order is written.
    CliRunner().invoke(app, ["--spec", str(_file(tmp_path, request)), "--run-dir", "run"])
    order = json.loads(RunDirectory(tmp_path / "run").attempt(1).order.read_text())
    assert order["spec"]["data"]["train"] == str(tmp_path / "a" / "train")
    assert order["spec"]["data"]["validation"] == "/b"
    assert order["spec"]["scale"]["replicas"] == 1
