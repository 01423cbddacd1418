"""A lock that one process holds, on a file that names the holder.

The operating system frees it when its process dies, however it dies, and never before: a holder
that was frozen and thaws still holds it. What the file says is for people; only the lock decides.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import IO


class FileLock:
    """The lock on one file, seen from one process."""

    def __init__(self, path: Path, *, url: str) -> None:
        self.path = path
        self._url = url
        self._file: IO[str] | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process holds it."""
        return self._file is not None

    def acquire(self) -> bool:
        """Take the lock if it is free; say whether this process holds it."""
        if self._file is not None:
            return True
        file = self.path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "url": self._url}) + "\n")
        file.flush()
        self._file = file
        return True

    def release(self) -> None:
        """Let go of the lock; the file stays, for a lock must not lie on a file that is gone."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def holder(self) -> str:
        """Name the present holder, for people."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            return f"{document['url']} (process {document['pid']})"
        except (OSError, ValueError, LookupError, TypeError):
            return "another process"
