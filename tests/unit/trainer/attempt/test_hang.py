"""Each case in a process of its own, which it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.trainer.runs import add_attempt
from trainer.attempt.failures import read_failure
from trainer.contract.attempt import Reason
from trainer.contract.run_directory import AttemptDirectory, RunDirectory

SCRIPT = """
import logging, os, sys, threading
from pathlib import Path
from trainer.attempt import hang
from trainer.contract.run_directory import RunDirectory

def stand(*_):
    threading.Event().wait()

def fail(*_):
    raise RuntimeError("unforeseen")

def print_into_a_full_pipe():
    # Written to with the interpreter's lock in hand, and never read.
    logging.disable()
    _, full = os.pipe()
    os.set_blocking(full, False)
    try:
        while True:
            os.write(full, bytes(1 << 16))
    except BlockingIOError:
        os.set_blocking(full, True)
    os.dup2(full, 2)

hang._ENDS_WITHIN_S = float(sys.argv[2])
{prepare}
try:
    hang.end_hung(RunDirectory(Path(sys.argv[1])).attempt(1), "nothing moves")
finally:
    os._exit(77)
"""


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    return add_attempt(RunDirectory(tmp_path))


def _end(attempt: AttemptDirectory, prepare: str, *, within_s: float) -> tuple[int, str]:
    command = [sys.executable, "-c", SCRIPT.replace("{prepare}", prepare)]
    done = subprocess.run(
        [*command, str(attempt.run), str(within_s)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


def test_it_says_what_hangs_and_where_and_ends(attempt: AttemptDirectory) -> None:
    code, told = _end(attempt, "", within_s=60)
    assert code == 1
    assert "the attempt hangs: nothing moves" in told
    assert "in end_hung" in told
    failure = read_failure(attempt)
    assert failure is not None
    assert failure.outcome.reason is Reason.HUNG


@pytest.mark.parametrize(
    ("prepare", "within_s"),
    [
        ("hang.write_failure = fail", 60),
        ("hang.write_failure = stand", 0.2),
        ("hang._log.error = stand", 0.2),
        ("print_into_a_full_pipe()", 0.2),
    ],
)
def test_it_ends_whatever_fails_or_hangs_on_the_way(
    attempt: AttemptDirectory, prepare: str, within_s: float
) -> None:
    assert _end(attempt, prepare, within_s=within_s)[0] == 1
