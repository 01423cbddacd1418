"""Which processes belong to a local Ray, and that all of them end."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from service.cluster.ray_processes import MARK, RayProcesses, is_marked
from tests.unit.service.conftest import wait_until

TEMP_DIR = "/tmp/alexnet-ray-a"


def test_a_process_is_known_by_a_whole_entry_of_its_environment() -> None:
    environment = f"HOME=/root\0{MARK}=/tmp/alexnet-ray-a\0RAY_AUTH_MODE=token\0".encode()
    assert is_marked(environment, "/tmp/alexnet-ray-a")
    assert not is_marked(environment, "/tmp/alexnet-ray")
    assert not is_marked(environment, "/tmp/alexnet-ray-ab")


def test_a_title_written_over_the_beginning_hides_no_process() -> None:
    environment = b"ay::DashboardAgent" + b"\0" * 40 + f"\0{MARK}=/tmp/alexnet-ray-a\0".encode()
    assert is_marked(environment, "/tmp/alexnet-ray-a")
    assert not is_marked(b"", "/tmp/alexnet-ray-a")


def reaping(child: subprocess.Popen[bytes]) -> Callable[[], None]:
    """As the one who started it: what ended is no zombie."""

    def reap() -> None:
        child.poll()

    return reap


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A session of its own, with nothing of the mark in its environment."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def test_a_process_without_its_mark_is_found_by_its_session(
    sleeper: subprocess.Popen[bytes],
) -> None:
    assert [process.pid for process in RayProcesses(TEMP_DIR, session=sleeper.pid)] == [sleeper.pid]
    assert list(RayProcesses(TEMP_DIR, session=None)) == []
    assert RayProcesses(TEMP_DIR, session=sleeper.pid).kill(5, reaping(sleeper))
    assert sleeper.poll() is not None


def test_what_is_started_while_it_is_killed_is_killed_too() -> None:
    # Each starts the next, in a session of its own, until none is left to be.
    chain = (
        "import os, sys, time\n"
        "for _ in range(20):\n"
        "    if os.fork(): time.sleep(0.05); os._exit(0)\n"
        "    os.setsid()\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, MARK: f"{TEMP_DIR}-{os.getpid()}"}
    with subprocess.Popen([sys.executable, "-c", chain], env=environment) as first:
        processes = RayProcesses(environment[MARK], session=None)
        wait_until(lambda: any(process.pid != first.pid for process in processes))
        assert processes.kill(10, reaping(first))
        assert list(processes) == []
