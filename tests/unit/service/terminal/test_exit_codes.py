"""Every command exits by the one table, and each code of it is met here."""

import errno
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from service.control_plane import ControlPlane
from service.terminal.cli import app, main
from service.terminal.exit_codes import ExitCode, exit_code_of
from tests.unit.service.conftest import free_port, job_in
from tests.unit.service.terminal.conftest import Run
from trainer.contract.status import TERMINAL, Status


def leaves(command: Any) -> Iterator[Any]:
    below = getattr(command, "commands", {}).values()
    yield from [leaf for one in below for leaf in leaves(one)] if below else [command]


COMMANDS = list(leaves(typer.main.get_command(app)))


def example(command: Any) -> list[str]:
    """Return the arguments that its help shows."""
    return str(command.epilog).split()[2:]


EXAMPLES = {" ".join(example(one)): example(one) for one in COMMANDS}
ASKING = {
    " ".join(example(one)): example(one)
    for one in COMMANDS
    if any("--url" in each.opts or "--service" in each.opts for each in one.params)
}
ABOUT_JOBS = {
    " ".join(example(one)): example(one)
    for one in COMMANDS
    if any(each.metavar == "JOB" for each in one.params)
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a job.json here, as the examples do."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.json").write_text(json.dumps({"preset": "small", "data": {}}))
    monkeypatch.setenv("ALEXNET_STATE_DIR", str(tmp_path / "state"))


def everywhere_raise(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("service.client.jobs.JobClient._request", fail)
    for name in ("_texts", "_open"):
        monkeypatch.setattr(f"service.client.files.FileClient.{name}", fail)


def test_the_commands_are_those_that_there_are() -> None:
    assert len(EXAMPLES) == len(COMMANDS) > 30
    assert len(ASKING) > 25
    assert len(ABOUT_JOBS) > 12


@pytest.mark.parametrize("arguments", EXAMPLES.values(), ids=EXAMPLES)
def test_an_option_that_is_none(alexnet: Run, arguments: list[str]) -> None:
    code, out, err = alexnet(*arguments, "--no-such-option")
    assert (code, out) == (ExitCode.REFUSED, "")
    assert "No such option: --no-such-option" in err


@pytest.mark.parametrize("arguments", ASKING.values(), ids=ASKING)
def test_without_a_service(
    alexnet: Run, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("ALEXNET_URL", url)
    code, out, err = alexnet(*arguments)
    assert (code, out) == (ExitCode.NO_SERVICE, "")
    told = json.loads(err)["detail"] if "--json" in arguments else err
    assert told.startswith(f"no service answers at {url}")


@pytest.mark.parametrize("arguments", ASKING.values(), ids=ASKING)
def test_ctrl_c_is_quiet(
    alexnet: Run, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere_raise(monkeypatch, KeyboardInterrupt())
    code, _, err = alexnet(*arguments)
    assert code == ExitCode.INTERRUPTED
    assert "Traceback" not in err
    assert "Aborted" not in err


@pytest.mark.parametrize("arguments", ASKING.values(), ids=ASKING)
def test_a_fault_of_the_command_is_none_of_the_jobs(
    alexnet: Run, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere_raise(monkeypatch, RuntimeError("a fault"))
    code, _, err = alexnet(*arguments)
    assert code == ExitCode.FAULT
    assert err.splitlines()[-1] == "RuntimeError: a fault"


@pytest.mark.parametrize("arguments", ABOUT_JOBS.values(), ids=ABOUT_JOBS)
def test_a_job_that_is_none(alexnet: Run, service: ControlPlane, arguments: list[str]) -> None:
    code, out, err = alexnet(*arguments)
    assert (code, out) == (ExitCode.REFUSED, "")
    assert "0123456789ab" in err
    assert len(err.splitlines()) == 1 or "clone" in arguments


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_job_that_is_waited_for(alexnet: Run, service: ControlPlane, status: Status) -> None:
    job_in(service.store, status, f"wait{status}")
    code, out, err = alexnet("wait", f"wait{status}", "--json")
    assert (code, err) == (exit_code_of(status), "")
    assert json.loads(out)["status"] == status


def test_a_job_that_is_not_over_in_time(alexnet: Run, service: ControlPlane) -> None:
    job_in(service.store, Status.RUNNING, "long")
    code, out, err = alexnet("wait", "long", "--timeout", "0.05")
    assert (code, out) == (ExitCode.NOT_ENDED, "")
    assert err == "job long has not ended within 0.05 s; it goes on\n"


@pytest.mark.parametrize("arguments", ["--help", "ls --json"])
def test_output_that_nobody_reads_is_no_fault(service: ControlPlane, arguments: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "service", *arguments.split()]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (ExitCode.NO_READER, "")


def test_output_to_a_full_disk_is_told_in_a_line(service: ControlPlane) -> None:
    command = [sys.executable, "-m", "service", "ls", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == ExitCode.NOT_WRITTEN
    assert len(done.stderr.splitlines()) == 1
    assert "No space left on device; make room" in done.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, ExitCode.NOT_WRITTEN), (errno.ENOENT, ExitCode.FAULT)]
)
def test_a_disk_that_fills_under_way_is_told_alike(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere_raise(monkeypatch, OSError(number, os.strerror(number)))
    # Not the output of the test itself.
    monkeypatch.setattr("service.terminal.cli._drop_output", lambda: None)
    with pytest.raises(SystemExit) as end:
        main(["ls"])
    assert end.value.code == code


@pytest.mark.parametrize(("no_color", "is_red"), [("", True), ("1", False)])
def test_colours_are_for_terminals_that_want_them(
    service: ControlPlane, monkeypatch: pytest.MonkeyPatch, no_color: str, is_red: bool
) -> None:
    job_in(service.store, Status.FAILED, f"red{is_red}")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "service", "ls"]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, check=False)
    shown = os.read(ours, 65_536)
    os.close(theirs)
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (b"\x1b[31mFAILED" in shown) is is_red


def test_the_help_tells_the_table_and_every_command_in_a_line(alexnet: Run) -> None:
    code, out, _ = alexnet("--help")
    assert code == 0
    for one in ExitCode:
        assert f"{int(one):>6}  {one.meaning}" in out.splitlines()
    assert max(map(len, out.splitlines())) <= 80
    listed = out.partition("Begin:")[2].partition("Exit codes:")[0]
    assert "..." not in listed
    headings = [line for line in listed.splitlines() if line.endswith(":")]
    assert headings == [
        "Submit jobs:",
        "Look at jobs:",
        "Change jobs:",
        "The cluster, and who may use it:",
    ]


# How the script of each shell asks for what completes a line.
COMPLETING: dict[str, Callable[[str], dict[str, str]]] = {
    "bash": lambda line: {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)},
    "zsh": lambda line: {"_TYPER_COMPLETE_ARGS": line},
    "fish": lambda line: {
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    },
}


def offered(shell: str, out: str) -> list[str]:
    """Return what a shell is told to offer, without the words beside it."""
    if shell == "zsh":
        return re.findall(r'^(?:_arguments \'\*: :\(\()?"([^"]*)"', out, re.MULTILINE)
    return [line.partition("\t")[0] for line in out.splitlines()]


@pytest.mark.parametrize("shell", COMPLETING)
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("alexnet wa", ["watch", "wait"]),
        ("alexnet ls --stat", ["--status"]),
        ("alexnet ls --status PAUS", ["PAUSING", "PAUSED"]),
        ("alexnet show {shell}job", ["{shell}job1"]),
    ],
)
def test_the_shell_completes_commands_options_and_jobs(
    alexnet: Run,
    service: ControlPlane,
    monkeypatch: pytest.MonkeyPatch,
    *,
    shell: str,
    words: str,
    completed: list[str],
) -> None:
    if "show" in words:
        job_in(service.store, Status.QUEUED, f"{shell}job1")
    monkeypatch.setenv("_ALEXNET_COMPLETE", f"complete_{shell}")
    for name, value in COMPLETING[shell](words.format(shell=shell)).items():
        monkeypatch.setenv(name, value)
    code, out, err = alexnet()
    expected = [one.format(shell=shell) for one in completed]
    assert (code, offered(shell, out), err) == (0, expected, "")


@pytest.mark.parametrize("shell", COMPLETING)
def test_completion_is_offered_and_shown_for_each_shell(
    alexnet: Run, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    assert "--install-completion" in alexnet("--help")[1]
    # As detected: the shell that runs this test may be any.
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    code, out, _ = alexnet("--show-completion")
    assert code == 0
    assert f"complete_{shell}" in out
    assert all(name in out for name in COMPLETING[shell](""))
