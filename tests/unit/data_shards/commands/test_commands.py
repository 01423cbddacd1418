import json
import os
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner, Result

from data_shards.__main__ import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_pack_then_verify_as_json_and_as_a_table(image_folder, tmp_path):
    out = tmp_path / "out"
    command = ["pack", image_folder, out, "--split", "train", "--size", 16, "--processes", 1]
    first = run(*command, "--json")
    assert first.exit_code == 0
    summary = json.loads(first.stdout)
    assert summary["num_samples"] == 37
    assert summary["num_classes"] == 5
    assert summary["num_shards"] == 1
    assert summary["skipped"] == {}
    assert summary["size_bytes"] == (out / "train-000000.tar").stat().st_size
    assert not summary["already_packed"]
    assert "37/37" in first.stderr
    again = run(*command)
    assert again.exit_code == 0
    assert "Already packed" in again.stdout
    other = run(*command, "--seed", 4)
    assert other.exit_code == 1
    assert "seed 0 (asked: 4)" in other.stderr
    assert not other.stdout

    sound = run("verify", out, "--json", "--processes", 1)
    assert sound.exit_code == 0
    assert json.loads(sound.stdout)["ok"] is True
    os.truncate(out / "train-000000.tar", 100)
    damaged = run("verify", out, "--json", "--processes", 1)
    assert damaged.exit_code == 1
    (problem,) = json.loads(damaged.stdout)["problems"]
    assert problem["file"] == "train-000000.tar"
    table = run("verify", out, "--processes", 1)
    assert table.exit_code == 1
    assert "train-000000.tar: has 100 bytes" in table.stdout


def test_skipped_images_are_named(image_folder, tmp_path):
    source = shutil.copytree(image_folder, tmp_path / "images")
    (source / "ant" / "0.png").write_bytes(b"rubbish")
    (source / "wasp" / os.fsdecode(b"\xff.jpg")).write_bytes(b"rubbish")
    command = ["pack", source, tmp_path / "out", "--split", "train", "--processes", 1]
    table = run(*command)
    assert table.exit_code == 0, table.stderr
    assert "2 unreadable" in table.stdout
    assert "ant/0.png: unreadable" in table.stdout
    assert r"wasp/\xff.jpg: unreadable" in table.stdout
    # The second run reads them from the manifest.
    summary = json.loads(run(*command, "--json").stdout)
    assert summary["already_packed"]
    assert {"path": "ant/0.png", "reason": "unreadable"} in summary["skipped_images"]


def test_a_disk_that_is_full_is_told_in_one_sentence(image_folder, tmp_path):
    # A limit that the packing process inherits stands for the full disk.
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));"
        "from data_shards.__main__ import app; app()"
    )
    command = ["pack", image_folder, tmp_path / "out", "--split", "train", "--processes", 1]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    error = done.stderr[done.stderr.index("Error: ") :]
    shard = tmp_path / "out" / ".packing" / "train-000000.tar"
    assert error.startswith(f"Error: {shard} cannot be written: File too large; make room")
    assert error.count("\n") == 1
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == [".packing", "begun.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pack", "nowhere", "out", "--split", "train"], "nowhere does not exist; name a folder"),
        (["verify", "nowhere"], "nowhere/manifest.json does not exist; pack the images first"),
        (["fetch", "fashion-mnist", "out", "--from", "nowhere"], "does not hold Fashion-MNIST"),
    ],
)
def test_errors_are_a_sentence_on_stderr(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["pack", ".", "out"],
        ["pack", ".", "out", "--split", "train", "--limit", "0"],
        ["pack", ".", "out", "--split", "train", "--encoding", "webp"],
        ["pack", ".", "out", "--split", "train", "--quality", "101"],
        ["fetch", "imagenet", "out"],
    ],
)
def test_wrong_options_are_usage_errors(arguments):
    assert run(*arguments).exit_code == 2


def test_help_lists_the_commands():
    text = run("--help").stdout
    assert all(name in text for name in ("fetch", "pack", "verify"))
