"""The warm process dies, and is there again."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_for
from trainer.warm import keeper as keeper_module
from trainer.warm import launcher
from trainer.warm.fork_server import told_starter
from trainer.warm.keeper import FIRST_S, LONGEST_S, pause_s


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "fork.sock"


@pytest.fixture
def keeper(socket: Path) -> Iterator[psutil.Process]:
    # A module that nobody has imported who runs a script.
    command = [sys.executable, "-m", "trainer.warm.keeper", str(socket), "wave"]
    with subprocess.Popen(command) as process:
        try:
            wait_for("the fork server", socket.exists, timeout_s=30)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def is_warm(socket: Path) -> bool:
    told = subprocess.run(
        [sys.executable, "-I", "-S", launcher.__file__, socket.with_name("told.py")],
        env={**os.environ, launcher.SOCKET_VARIABLE: str(socket)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return told.stdout == "True\n"


def test_it_is_started_again_when_it_dies_and_that_is_noted(
    keeper: psutil.Process, socket: Path
) -> None:
    socket.with_name("told.py").write_text("import sys; print('wave' in sys.modules)")
    notes = socket.with_name(f"{socket.name}.ended")
    assert is_warm(socket)
    assert not notes.exists()
    (server,) = keeper.children()
    server.kill()
    wait_for("a warm process", lambda: is_warm(socket), timeout_s=30)
    assert notes.read_text().startswith("exit code -9 after ")
    assert len(notes.read_text().splitlines()) == 1


def test_it_is_started_again_though_no_note_can_be_written(
    keeper: psutil.Process, socket: Path
) -> None:
    # No file can be opened there.
    socket.with_name(f"{socket.name}.ended").mkdir()
    (server,) = keeper.children()
    server.kill()
    wait_for("another", lambda: keeper.children() not in ([], [server]), timeout_s=30)


@pytest.mark.parametrize("module", ["keeper", "fork_server"])
def test_one_whose_starter_died_while_it_began_does_not_stay(
    socket: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    command = [sys.executable, "-m", f"trainer.warm.{module}", str(socket), "wave"]
    monkeypatch.setattr("trainer.warm.fork_server.os.getpid", os.getppid)
    another = told_starter()
    monkeypatch.undo()
    assert subprocess.run(command, env=another, timeout=60, check=False).returncode == 1
    assert not socket.exists()


def test_a_start_that_fails_is_a_short_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(Exception):
        """Ends the loop."""

    waits = []

    def sleep(wait_s: float) -> None:
        waits.append(wait_s)
        if len(waits) == 3:
            raise StopError

    monkeypatch.setattr(sys, "argv", ["keeper", str(tmp_path / "fork.sock")])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    monkeypatch.setattr(keeper_module, "die_with_starter", lambda: None)
    monkeypatch.setattr("trainer.warm.keeper.time.sleep", sleep)
    with pytest.raises(StopError):
        keeper_module.main()
    assert waits == [pause_s(number) for number in (1, 2, 3)]
    notes = (tmp_path / "fork.sock.ended").read_text().splitlines()
    assert len(notes) == 3
    assert all(note.startswith("no start (No such file") for note in notes)


def test_it_goes_with_its_keeper(keeper: psutil.Process) -> None:
    (server,) = keeper.children()
    keeper.kill()
    wait_for("the server to be gone", lambda: not server.is_running(), timeout_s=20)


def test_the_pauses_double_up_to_the_longest() -> None:
    pauses = [pause_s(number) for number in range(10_000)]
    assert pauses[0] == FIRST_S
    assert all(
        later == min(2 * earlier, LONGEST_S) for earlier, later in itertools.pairwise(pauses)
    )
    assert pauses[-1] == LONGEST_S
