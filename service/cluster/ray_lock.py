"""The lock on a local Ray, which its owner gives up as soon as another process leads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.file_lock import FileLock

# Assumed: whoever takes longer with it hangs, and is not waited for at a stop.
PATIENCE_S = 15.0


class RayLock(FileLock):
    """A lock that is given up by any thread, and not under whoever is at work with its Ray."""

    def __init__(self, path: Path, *, url: str) -> None:
        super().__init__(path, url=url)
        self._is_given_up = False
        self._use = threading.Lock()

    def claim(self) -> None:
        """Let it be acquired again: this process has begun to lead."""
        self._is_given_up = False

    def acquire(self) -> bool:
        """Take the lock if it is free and was not given up; say whether this process holds it."""
        return not self._is_given_up and super().acquire()

    def give_up(self) -> None:
        """Let go of it now, or when what is under way ends; until a `claim` it is not acquired."""
        self._is_given_up = True
        self._release_if_given_up()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep it for so long, whoever gives it up meanwhile."""
        is_alone = self._use.acquire(timeout=PATIENCE_S)
        try:
            yield
        finally:
            if is_alone:
                self._use.release()
            self._release_if_given_up()

    def _release_if_given_up(self) -> None:
        # Whoever uses it comes here afterwards.
        if self._is_given_up and self._use.acquire(blocking=False):
            try:
                self.release()
            finally:
                self._use.release()
