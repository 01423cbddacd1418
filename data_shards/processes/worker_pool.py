"""The parent's side of worker processes.

Plain child processes rather than multiprocessing's: those import the parent's main module again
(under Ray, Ray's own worker, which takes seconds) and keep a tracker process beside them.
"""

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from data_shards.closing import Closing
from data_shards.errors import EndedError, WorkerDiedError
from data_shards.processes.worker import Handler
from data_shards.user_cache import KERNELS_VARIABLE, kernels_folder

_ENDED = "the worker processes were ended: ask nothing more of what owned them"


class WorkerPool(Closing):
    """Worker processes that end with this object, with this process, or by themselves never."""

    def __init__(
        self,
        open_handler: Callable[[], Handler],
        *,
        num_processes: int,
        inherited_fds: Iterable[int] = (),
    ) -> None:
        """Start the workers; each calls `open_handler` (pickled) once for its handler."""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[Connection] = []
        try:
            for _ in range(num_processes):
                self._start(tuple(inherited_fds))
            for worker in range(num_processes):
                self.send(worker, open_handler)
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers, for logs and tests."""
        return tuple(process.pid for process in self._processes)

    def send(self, worker: int, message: object) -> None:
        """Give a worker a message; it handles them in the order sent.

        Raises what `receive` does where the worker cannot take it.
        """
        if not self._connections:
            raise EndedError(_ENDED)
        try:
            self._connections[worker].send(message)
        except (BrokenPipeError, ConnectionResetError):
            # It may have left the reason behind.
            self._receive_from(worker)
            raise self._died(worker) from None

    def receive(self) -> tuple[int, Any]:
        """Wait for the next answer of any worker; return (worker, answer).

        Raises the worker's own DataError, WorkerFailedError with its traceback, or
        WorkerDiedError; EndedError once the pool is closed.
        """
        if not self._connections:
            raise EndedError(_ENDED)
        ready = wait(self._connections)[0]
        worker = next(i for i, connection in enumerate(self._connections) if connection is ready)
        return worker, self._receive_from(worker)

    def share(self, tasks: Iterable[object], *, last: type) -> Iterator[Any]:
        """Hand out tasks, one at a time to each worker; yield every answer as it comes.

        An answer of type `last` ends a task.
        """
        waiting = iter(tasks)
        busy = 0
        for worker, task in zip(range(len(self._processes)), waiting, strict=False):
            self.send(worker, task)
            busy += 1
        while busy:
            worker, answer = self.receive()
            if isinstance(answer, last):
                busy -= 1
                for task in itertools.islice(waiting, 1):
                    self.send(worker, task)
                    busy += 1
            yield answer

    def close(self) -> None:
        """End the workers at once; they hold nothing that needs saving."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._connections.clear()
        self._processes.clear()

    def _start(self, inherited_fds: tuple[int, ...]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._connections.append(Connection(ours.detach()))
            self._processes.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "data_shards.processes.worker",
                        str(theirs.fileno()),
                    ],
                    pass_fds=(theirs.fileno(), *inherited_fds),
                    stdin=subprocess.DEVNULL,
                    env=_environment(),
                )
            )

    def _receive_from(self, worker: int) -> object:
        try:
            answer = self._connections[worker].recv()
        except (EOFError, ConnectionResetError):
            raise self._died(worker) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _died(self, worker: int) -> WorkerDiedError:
        process = self._processes[worker]
        # The pipe is closed, so the process is ending or has ended.
        return WorkerDiedError(process.pid, process.wait())


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    # One worker a core already: threads inside would only contend.
    return {
        **os.environ,
        "PYTHONPATH": path,
        KERNELS_VARIABLE: str(kernels_folder()),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
