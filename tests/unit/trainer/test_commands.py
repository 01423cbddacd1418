import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from tests.unit.trainer.trained_runs import write_manifest, write_run
from trainer.__main__ import app
from trainer.contract.model_spec import ModelSpec
from trainer.contract.run_directory import RunDirectory
from trainer.network.alexnet import AlexNet

Networks = Callable[..., AlexNet]


@pytest.fixture
def network(small_network: Networks) -> AlexNet:
    return small_network()


@pytest.fixture
def checkpoint(tmp_path: Path, network: AlexNet, small_model: Callable[..., ModelSpec]) -> Path:
    write_manifest(tmp_path / "shards")
    return write_run(
        RunDirectory(tmp_path / "run"), tmp_path / "shards", network, small_model(), step=1234
    )


def _export(source: Path, to: str, output: Path, *options: str) -> Result:
    arguments = ["export", str(source), "--format", to, "--output", str(output), *options]
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("to", ["safetensors", "state-dict"])
def test_an_export_says_what_it_wrote_and_what_it_checked(
    checkpoint: Path, tmp_path: Path, to: str
) -> None:
    output = tmp_path / "alexnet"
    done = _export(checkpoint, to, output)
    assert done.exit_code == 0, done.output
    size = output.stat().st_size / 1e6
    assert done.stdout.startswith(f"{output}: {size:.1f} MB of {to}, step 1234; checked: its logi")
    assert done.stdout.count("\n") == 1


@pytest.mark.slow
def test_an_onnx_file_is_exported_of_a_run(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "alexnet.onnx"
    done = _export(checkpoint.parents[3], "onnx", output)
    assert done.exit_code == 0, done.output
    assert " MB of onnx, step 1234; checked: " in done.stdout
    assert done.stderr == ""
    assert output.stat().st_size > 4 * 100_000


def test_a_file_is_replaced_by_force_alone(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "alexnet"
    output.write_text("precious")
    refused = _export(checkpoint, "safetensors", output)
    assert refused.exit_code == 2
    assert refused.stderr == f"--output {output} is there already; name another, or use --force\n"
    assert output.read_text() == "precious"
    assert _export(checkpoint, "safetensors", output, "--force").exit_code == 0
    assert output.stat().st_size > 1000


def test_a_folder_is_never_replaced(checkpoint: Path, tmp_path: Path) -> None:
    refused = _export(checkpoint, "safetensors", tmp_path, "--force")
    assert (refused.exit_code, refused.stderr) == (
        2,
        f"--output {tmp_path} is a folder; name a file\n",
    )


def test_a_file_that_cannot_be_written_is_said_in_a_sentence(
    checkpoint: Path, tmp_path: Path
) -> None:
    # The file that is written aside would have a name of more than 255 bytes.
    output = tmp_path / ("a" * 250)
    refused = _export(checkpoint, "state-dict", output)
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"--output {output} cannot be written: File name too long; name another\n"
    )


def test_a_folder_that_is_not_there_is_said_before_anything_is_read(tmp_path: Path) -> None:
    output = tmp_path / "nowhere" / "alexnet"
    refused = _export(tmp_path / "nor this", "state-dict", output)
    assert (refused.exit_code, refused.stderr) == (
        2,
        f"--output {output}: there is no folder {output.parent}; make it first\n",
    )


def test_an_unknown_format_is_refused_with_those_there_are(
    checkpoint: Path, tmp_path: Path
) -> None:
    refused = _export(checkpoint, "pickle", tmp_path / "alexnet")
    assert refused.exit_code == 2
    assert all(name in refused.stderr for name in ("'pickle'", "safetensors", "onnx", "state-dict"))


def test_a_damaged_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    os.truncate(checkpoint / "model.safetensors", 100)
    refused = _export(checkpoint, "safetensors", tmp_path / "alexnet")
    assert refused.exit_code == 2
    assert "model.safetensors has 100 bytes where" in refused.stderr
    assert not (tmp_path / "alexnet").exists()


def test_a_disk_that_is_away_is_said_in_a_sentence(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("trainer.commands.read_trained", fail)
    failed = _export(checkpoint, "safetensors", tmp_path / "alexnet")
    assert failed.exit_code == 1
    assert f"{checkpoint} cannot be exported now" in failed.stderr


def test_missing_packages_are_named(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refused = _export(checkpoint, "onnx", tmp_path / "alexnet")
    assert refused.exit_code == 2
    assert "needs onnxscript" in refused.stderr


def test_what_does_not_agree_with_the_checkpoint_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AlexNet, "forward", lambda _, images: torch.ones(len(images[0]), 10))
    failed = _export(checkpoint, "safetensors", tmp_path / "alexnet")
    assert failed.exit_code == 1
    assert "nothing was written" in failed.stderr
    assert not (tmp_path / "alexnet").exists()
