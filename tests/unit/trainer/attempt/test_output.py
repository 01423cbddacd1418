import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.attempt import output
from trainer.contract.log_cut import NOTICE_BYTES, told_bytes
from trainer.contract.run_directory import AttemptDirectory, RunDirectory

SCRIPT = """
import logging, os, subprocess, sys
from pathlib import Path
from trainer.attempt.attempt_folder import log_to
from trainer.attempt.output import capture_output
from trainer.contract.run_directory import RunDirectory

attempt = RunDirectory(Path(sys.argv[1])).attempt(1)
print("before")
console = capture_output(attempt)
log_to(attempt, console=console.err)
print("printed")
logging.info("logged")
os.write(2, b"native\\n")
subprocess.run(["echo", "child"])
print("outcome", file=console.out)
print("last words", end="")
sys.stdout.flush()
{end}
"""


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    attempt = RunDirectory(tmp_path).attempt(1)
    attempt.path.mkdir(parents=True)
    return attempt


def run(attempt: AttemptDirectory, end: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT.replace("{end}", end), str(attempt.run)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_all_that_a_process_prints_is_in_the_log_in_its_order(attempt: AttemptDirectory) -> None:
    done = run(attempt)
    lines = attempt.log.read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["printed", "logged", "native", "child", "words"]
    # What is said to whoever started it goes there as before.
    assert done.stdout == "before\noutcome\n"
    assert [line.split()[-1] for line in done.stderr.splitlines()] == ["logged"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_what_a_process_says_as_it_dies_is_in_the_log(
    attempt: AttemptDirectory, number: signal.Signals
) -> None:
    assert run(attempt, f"os.kill(os.getpid(), {number:d})").returncode == -number
    log = attempt.log.read_text()
    assert "last words" in log
    assert ("Fatal Python error: Segmentation fault" in log) == (number is signal.SIGSEGV)


def test_several_processes_print_into_one_log(attempt: AttemptDirectory) -> None:
    run(attempt)
    run(attempt)
    assert attempt.log.read_text().count("printed") == 2


BLOCK = 4096


def unable(file: int, first: int, length: int) -> None:
    raise OSError(errno.EOPNOTSUPP, "of another file system")


@pytest.mark.parametrize("able", [True, False])
def test_a_log_that_is_too_long_keeps_its_beginning_and_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    monkeypatch.setattr(output, "MAX_LOG_BYTES", 2 * BLOCK)
    monkeypatch.setattr(output, "MAX_END_BYTES", 2 * BLOCK)
    if not able:
        monkeypatch.setattr(output, "_collapse", unable)
    log = tmp_path / "driver.log"
    writer = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    printed, told = 0, set()
    for line in range(5000):
        printed += os.write(writer, b"line %d\n" % line)
        size = log.stat().st_size
        output.cut(log)
        assert log.stat().st_size <= 4 * BLOCK
        if log.stat().st_size < size:
            told.add(told_bytes(log.read_bytes()))
    os.close(writer)
    content = log.read_bytes()
    assert content.startswith(b"line 0\nline 1\n")
    assert content.endswith(b"line 4999\n")
    assert b"\0" not in content
    # One line, which counts what each cut took.
    assert content.count(b"cut out") == 1
    assert len(told) > 3
    assert told_bytes(content) == printed - (len(content) - NOTICE_BYTES)
    assert (b"\n--- at least " in content) != able


def test_what_is_printed_as_a_log_is_cut_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "MAX_LOG_BYTES", 2 * BLOCK)
    monkeypatch.setattr(output, "MAX_END_BYTES", 2 * BLOCK)
    collapse, log = output._collapse, tmp_path / "driver.log"

    def print_and_collapse(file: int, first: int, length: int) -> None:
        with log.open("a") as other:
            other.write("before\n")
        collapse(file, first, length)
        with log.open("a") as other:
            other.write("after\n")

    monkeypatch.setattr(output, "_collapse", print_and_collapse)
    printed = log.write_text("".join(f"line {line}\n" for line in range(3000)))
    try:
        with log.open("r+b") as file:
            collapse(file.fileno(), 0, BLOCK)
    except OSError as error:
        pytest.skip(f"blocks cannot be taken out of files here: {error}")
    output.cut(log)
    content = log.read_text()
    # But for the block that was taken out above.
    printed += len("before\nafter\n") - BLOCK
    assert told_bytes(content.encode()) == printed - (len(content) - NOTICE_BYTES)
    kept = content.partition(" are cut out ")[2].partition("\n")[2].splitlines()
    assert kept[-3:] == ["line 2999", "before", "after"]
    numbers = [int(line.split()[1]) for line in kept[1:-2]]
    assert numbers == list(range(numbers[0], 3000))
