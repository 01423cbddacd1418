"""A disk of a few megabytes: a tmpfs in a mount namespace, which ends with whoever is in it."""

import errno
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.faults.stand_in_ray import ROOT

_FILLER = "filler"
# Holds the namespace until its input ends, and so no longer than the tests.
_HOLD = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo mounted && exec cat'


class SmallDisk:
    """Lies at `folder` for processes that are started by `prefix`; a context manager.

    Skips the test, and fails it under CI, where mounting is refused.
    """

    def __init__(self, folder: Path, *, size_bytes: int) -> None:
        folder.mkdir()
        self.folder = folder
        hold = ("sh", "-c", _HOLD, "sh", str(size_bytes), str(folder))
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", *hold],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "mounted\n":
            _, error = self._holder.communicate()
            refused = f"a tmpfs cannot be mounted here: {error.strip()}"
            assert not os.environ.get("CI"), refused
            pytest.skip(refused)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._holder.communicate()

    @property
    def prefix(self) -> tuple[str, ...]:
        """Of commands that are to see it."""
        return ("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--wd={ROOT}")

    @property
    def inside(self) -> Path:
        """Where this process sees it."""
        return Path(f"/proc/{self._holder.pid}/root{self.folder}")

    def fill(self, *, room_bytes: int = 0) -> None:
        """Fill it up but for so much, whoever writes meanwhile."""
        with (self.inside / _FILLER).open("ab", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            filler.truncate(max(filler.tell() - room_bytes, 0))

    def make_room(self) -> None:
        """Empty it of what filled it."""
        (self.inside / _FILLER).unlink()
