"""What is left of a process that is killed, or is done: nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.last_rites import VARIABLE, last_rites, unmarked
from tests.waiting import wait_for

# Started by a thread that ends; begins a session, in which one has no mark, and another beyond it.
_KILLED = """
import signal, subprocess, sys, threading
from tests.last_rites import last_rites

CHAIN = '''
import os, subprocess, sys, time
bare = subprocess.Popen(["sleep", "1000"], env={"PATH": os.environ["PATH"]})
away = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(os.getpid(), bare.pid, away.pid, flush=True)
time.sleep(1000)
'''

def start():
    subprocess.Popen([sys.executable, "-c", CHAIN], start_new_session=True)
    subprocess.Popen(["sleep", "1000"])

# Whatever they are run by.
signal.signal(signal.SIGINT, signal.default_int_handler)
with last_rites():
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    input()
"""


@contextmanager
def _started() -> Iterator[tuple["subprocess.Popen[str]", list[psutil.Process]]]:
    """Give a process, and those that came of it."""
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            chain = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
            beside = [
                one for one in psutil.Process(process.pid).children() if one.name() == "sleep"
            ]
            yield process, chain + beside
        finally:
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_all_that_a_process_started_is_gone_where_it_is_ended(how: signal.Signals) -> None:
    with _started() as (process, kin):
        assert len(kin) == 4
        process.send_signal(how)
        wait_for("them to go", lambda: not any(map(_lives, kin)), timeout_s=30)


_TEST = """
import subprocess, time
from pathlib import Path

def test_nothing():
    started = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    Path({told!r}).write_text(str(started.pid))
    time.sleep(1000)
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [(), ("-n", "1")], ids=["one", "several"])
def test_what_a_test_started_is_gone_where_it_is_ended_for_its_time(
    tmp_path: Path, processes: tuple[str, ...]
) -> None:
    told, file = tmp_path / "told", tmp_path / "test_hanging.py"
    file.write_text(_TEST.format(told=str(told)))
    plugins = ("-p", "tests.conftest", "-p", "no:cacheprovider")
    options = ("--timeout", "1", "--timeout-method", "thread", "--basetemp", tmp_path / "base")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options, *processes, file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    pid = int(told.read_text())
    wait_for("it to go", lambda: not psutil.pid_exists(pid), timeout_s=30)


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_these_tests_have_it() -> None:
    mark = os.environ[VARIABLE]
    assert VARIABLE not in unmarked()
    with last_rites():
        assert os.environ[VARIABLE] != mark
        process = subprocess.Popen(["sleep", "1000"])
    assert process.wait(30) == -signal.SIGKILL
    assert os.environ[VARIABLE] == mark
