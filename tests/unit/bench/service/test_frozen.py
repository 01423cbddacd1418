import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.bench.service.frozen import Frozen, family
from tests.waiting import wait_for

# Starts another, and both count for ever.
COUNTS = """
import subprocess, sys, time
if len(sys.argv) == 2:
    subprocess.Popen([sys.executable, "-c", sys.argv[1]])
while True:
    time.sleep(.001)
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", COUNTS, COUNTS])
    # Until then it is a copy of its parent, which waits for it where no signal reaches it.
    own = [sys.executable, "-c", COUNTS]
    wait_for("its child", lambda: own in commands(process.pid), timeout_s=20)
    yield process
    for one in family(process.pid):
        one.kill()
    process.wait()


def commands(pid: int) -> list[list[str]]:
    return [one.cmdline() for one in family(pid)]


def are_stopped(pid: int) -> bool:
    return {one.status() for one in family(pid)} == {psutil.STATUS_STOPPED}


def test_a_family_stands_still_but_for_its_turn(parent: subprocess.Popen[bytes]) -> None:
    frozen = Frozen(lambda: family(parent.pid))
    frozen.freeze()
    wait_for("all to stop", lambda: are_stopped(parent.pid), timeout_s=20)
    with frozen.thawed():
        wait_for("all to go on", lambda: not are_stopped(parent.pid), timeout_s=20)
    wait_for("all to stop again", lambda: are_stopped(parent.pid), timeout_s=20)
    frozen.thaw()
    wait_for("all to go on", lambda: not are_stopped(parent.pid), timeout_s=20)


def test_what_has_ended_has_no_family(parent: subprocess.Popen[bytes]) -> None:
    for one in family(parent.pid):
        one.kill()
    parent.wait()
    assert family(parent.pid) == []
    Frozen(lambda: family(parent.pid)).freeze()


def test_processes_without_end_are_an_error() -> None:
    class Endless:
        def __init__(self, pid: int) -> None:
            self.pid = pid

        def send_signal(self, _: int) -> None:
            pass

    pids = iter(range(10**9))
    with pytest.raises(RuntimeError, match="faster"):
        Frozen(lambda: [Endless(next(pids))]).freeze()  # type: ignore[list-item]
