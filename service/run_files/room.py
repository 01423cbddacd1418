"""How much room the disk of the run root has, as /metrics tells it."""

import shutil
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

# A disk answers at once; one that is mounted from a server that is away may never.
ANSWER_WITHIN_S = 1.0


class Room(NamedTuple):
    """Of a file system, in bytes."""

    free: int
    """For whoever is not root."""
    size: int


class RoomMeter:
    """Asks a disk, in one thread at a time, and waits no longer for it than a moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._asked: Future[Room] | None = None

    def read(self, *, within_s: float = ANSWER_WITHIN_S) -> Room | None:
        """Return how much there is now; None: it cannot be known in time."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                # A daemon: a disk that hangs must not hold up the end of the process.
                threading.Thread(
                    target=self._ask, args=(self._asked,), name="room", daemon=True
                ).start()
            asked = self._asked
        try:
            return asked.result(within_s)
        except (OSError, TimeoutError):
            return None

    def _ask(self, asked: Future[Room]) -> None:
        try:
            found = shutil.disk_usage(self._folder)
        except OSError as error:
            asked.set_exception(error)
        else:
            asked.set_result(Room(free=found.free, size=found.total))
