"""A pool whose one worker is this process, deaths at any of its steps, and what came of it."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import pytest

from data_shards.packing import pack as packing
from data_shards.storage.folder import Folder
from data_shards.storage.object_folder import ObjectFolder


def contents(folder: Folder) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {name: folder.read_bytes(name, 1 << 20) for name in folder.names()}


class InlinePool:
    """As WorkerPool with one process."""

    def __init__(
        self,
        open_handler: Callable[[], Callable[[Any], Iterable[Any]]],
        *,
        num_processes: int,
        inherited_fds: Iterable[int] = (),
    ) -> None:
        assert all(os.get_inheritable(fd) is not None for fd in inherited_fds)
        self._handle = open_handler()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def share(self, tasks: Iterable[object], *, last: type) -> Iterator[Any]:
        for task in tasks:
            yield from self._handle(task)


class Killed(BaseException):
    """Stands for SIGKILL: whatever is tried after it is killed too."""


class Steps:
    """What a run does to files and objects, one after another; it dies before the one chosen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done = 0
        self.last: int | None = None
        monkeypatch.setattr(packing, "WorkerPool", InlinePool)
        for name in ("fsync", "replace", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))
        for name in ("put", "put_bytes", "delete"):
            monkeypatch.setattr(ObjectFolder, name, self._counted(getattr(ObjectFolder, name)))

    def allow(self, count: int | None) -> None:
        """Die before the step after `count` steps from now on."""
        self.done, self.last = 0, count

    def _counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if self.done == self.last:
                raise Killed
            self.done += 1
            return step(*arguments, **options)

        return counted
