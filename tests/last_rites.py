"""Ends all that a process has started when it is done, or gone, however it ended.

By a mark in the environment, which is inherited: a kernel that is asked to (PR_SET_PDEATHSIG) goes
by the thread that started a process, and ends that process alone, not a Ray that it has started.
"""

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from service.cluster.processes import session_of
from service.cluster.ray_processes import LOOK_EVERY_S, MARK, QUIET_LOOKS

VARIABLE = "ALEXNET_TESTS_STARTED_BY"
# Told of nothing but an end, at which alone it becomes a Python.
_WATCH = 'while read -r line; do :; done; exec "$@"'
_PATIENCE_S = 60.0


def unmarked() -> dict[str, str]:
    """Return the environment of a process that is to end by itself."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}


@contextmanager
def last_rites() -> Iterator[None]:
    """What is started within the block ends with it, and with this process."""
    mark, before = secrets.token_hex(8), os.environ.get(VARIABLE)
    rites = (sys.executable, "-m", "tests.last_rites", mark, str(os.getsid(0)))
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, "watcher", *rites],
        cwd=Path(__file__).parents[1],
        env=unmarked(),
        stdin=subprocess.PIPE,
        # A signal to the group of this process is not for it.
        start_new_session=True,
    )
    os.environ[VARIABLE] = mark
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before
        watcher.communicate()


@dataclass
class Kin:
    """All that came of a process: by its mark, or in a session that one of them has begun.

    Some of Ray's processes write their titles over their environment.
    """

    mark: str
    session: int
    """That of the process itself, in which others are too."""
    sessions: set[int] = field(default_factory=set)
    """Those begun since, as far as they were seen."""
    ray_folders: set[Path] = field(default_factory=set)

    def look(self) -> list[psutil.Process]:
        """Return those that live."""
        marked, others = [], []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
                session = session_of(process.pid)
                if f"{VARIABLE}={self.mark}".encode() in environment:
                    marked.append(process)
                    self._learn(environment, session)
                elif process.status() != psutil.STATUS_ZOMBIE:
                    others.append((process, session))
        return marked + [process for process, session in others if session in self.sessions]

    def _learn(self, environment: list[bytes], session: int | None) -> None:
        if session not in {None, self.session}:
            assert session is not None
            self.sessions.add(session)
        name = f"{MARK}=".encode()
        self.ray_folders |= {
            Path(os.fsdecode(one.removeprefix(name))) for one in environment if one.startswith(name)
        }

    def end(self) -> bool:
        """Kill them, with what they start meanwhile; say whether none is left."""
        deadline_s, quiet_looks = time.monotonic() + _PATIENCE_S, 0
        while quiet_looks < QUIET_LOOKS and time.monotonic() < deadline_s:
            found = self.look()
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            quiet_looks = 0 if found else quiet_looks + 1
            time.sleep(LOOK_EVERY_S)
        for folder in self.ray_folders:
            shutil.rmtree(folder, ignore_errors=True)
        return quiet_looks == QUIET_LOOKS


if __name__ == "__main__":
    sys.exit(not Kin(sys.argv[1], int(sys.argv[2])).end())
