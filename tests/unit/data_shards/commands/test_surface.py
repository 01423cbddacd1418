"""What others type: names of commands and options change only on purpose."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

from data_shards.__main__ import app
from tests.waiting import wait_for

SURFACE = {
    "fetch": ["DATASET", "OUT", "--from"],
    "pack": [
        *("SOURCE", "OUT", "--split", "--size", "--no-resize", "--quality"),
        *("--samples-per-shard", "--limit", "--seed", "--encoding", "--label-field", "--processes"),
        *("--scratch", "--force", "--json"),
    ],
    "index": [
        *("LOCATION", "--split", "--tars", "--image-size", "--label-field", "--classes"),
        *("--statistics-limit", "--seed", "--leave-out-refused", "--processes", "--force"),
        "--json",
    ],
    "inspect": [
        *("LOCATION", "--classes", "--shards", "--contact-sheet", "--columns", "--rows"),
        *("--seed", "--by-class", "--json"),
    ],
    "verify": ["LOCATION", "--decode", "--processes", "--json"],
    "shuffle-quality": [
        *("LOCATION", "--seed", "--streams", "--window", "--batch", "--epoch", "--json")
    ],
    "batch": [
        *("LOCATION", "OUT", "--seed", "--epoch", "--step", "--streams", "--window", "--batch"),
        *("--crop-size", "--colour", "--recipe", "--centre-crop", "--no-mirror", "--json"),
    ],
}
SET_COMMANDS = [["verify"], ["inspect"], ["index", "--split", "train"]]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_commands_and_options_are_these():
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    assert list(group.commands) == list(SURFACE)
    for name, command in group.commands.items():
        names: list[str] = []
        for parameter in command.params:
            is_option = parameter.param_type_name == "option"
            names += parameter.opts if is_option else [parameter.name.upper()]
            # None has a second name that switches it off: --no-json.
            assert not parameter.secondary_opts
        assert sorted(names) == sorted(SURFACE[name])


def test_help_tells_of_every_command_and_option():
    text = run("--help").stdout
    for name, options in SURFACE.items():
        assert f" {name} " in text
        shown = run(name, "--help").stdout
        assert all(f"{option} " in shown for option in options if option.startswith("--"))


def error_of(*arguments: object) -> str:
    """Run what must fail; return what is said, which is a sentence on stderr alone."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert not result.stdout
    *_, last = result.stderr.strip().splitlines()
    assert last.startswith("Error: ")
    assert "Traceback" not in result.stderr
    assert "Errno" not in result.stderr
    return last


@pytest.mark.parametrize("command", SET_COMMANDS)
@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("nowhere", "nowhere"),
        ("empty", "empty"),
        ("file.txt", "file.txt"),
        ("ftp://somewhere/set", "a URL of kind 'ftp' is not read; name a path"),
        ("s3://", "names no bucket"),
        ("s3://user:word@bucket/set", "holds credentials"),
    ],
)
def test_wrong_locations_are_told_in_a_sentence(command, location, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("no set")
    error = error_of(*command, location)
    assert message in error
    assert ":word@" not in error


@pytest.mark.parametrize("command", ["verify", "inspect"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "is not JSON"),
        ("[]", "has version None"),
        ('{"version": 7}', "has version 7, where this release reads version 1; pack the images"),
        ('{"version": 1}', "Field required"),
        ("\udcff", "cannot be read"),
    ],
)
def test_what_is_no_manifest_of_this_release_is_told(command, text, message, tmp_path):
    (tmp_path / "manifest.json").write_bytes(os.fsencode(text))
    assert message in error_of(command, tmp_path)


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_set_that_is_being_packed_is_told(command, own_copy):
    (own_copy / "manifest.json").unlink()
    (own_copy / ".packing").mkdir()
    (own_copy / ".packing" / "begun.json").write_text("{}")
    assert f"{own_copy} is not packed to its end; wait for it" in error_of(command, own_copy)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
@pytest.mark.parametrize("command", SET_COMMANDS)
def test_a_folder_without_the_right_to_read_it_is_told(command, own_copy):
    own_copy.chmod(0)
    program = (
        "import os; from data_shards.__main__ import app;"
        "os.setuid(65534); app(prog_name='data_shards')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command, str(own_copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Error: ") == 1


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (["verify"], signal.SIGINT),
        (["verify"], signal.SIGTERM),
        (["index", "--split", "train", "--force"], signal.SIGINT),
    ],
)
def test_what_is_stopped_ends_with_its_workers(command, number, own_copy, still_running):
    # So large, and all of it a hole, that its digest takes longer than anybody waits.
    size = 1 << 40
    os.truncate(own_copy / "train-000002.tar", size)
    document = json.loads((own_copy / "manifest.json").read_text())
    document["shards"][2]["size_bytes"] = size
    (own_copy / "manifest.json").write_text(json.dumps(document))
    arguments = [sys.executable, "-m", "data_shards", *command, str(own_copy), "--processes", "2"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    parent = psutil.Process(process.pid)
    wait_for("workers", lambda: len(parent.children()) == 2, timeout_s=60, every_s=0.01)
    workers = parent.children()
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped" in stderr
    assert "Traceback" not in stderr
    assert not stdout
    assert not still_running(workers)
    assert json.loads((own_copy / "manifest.json").read_text()) == document
