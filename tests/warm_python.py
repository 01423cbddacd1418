"""A Python that has what attempts import: the product's warm process, one for many tests."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path

from service.cluster.warm_process import launcher
from tests.waiting import wait_for
from trainer.warm.launcher import SOCKET_VARIABLE

_IMPORTED = ("trainer.running.replica", "trainer.running.loop")


@contextmanager
def warm_process(socket: Path) -> Iterator[None]:
    """Have attempts of the block forked: importing torch is most of what such a one costs."""
    with fork_server(socket):
        try:
            os.environ[SOCKET_VARIABLE] = str(socket)
            yield
        finally:
            os.environ.pop(SOCKET_VARIABLE, None)


@contextmanager
def fork_server(socket: Path) -> Iterator[None]:
    """Have it listen while the block runs."""
    server = subprocess.Popen(
        [sys.executable, "-m", "trainer.warm.fork_server", socket, *_IMPORTED],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for("the warm process", socket.exists, timeout_s=90)
        yield
    finally:
        server.terminate()
        server.wait()


def replica_context() -> ForkServerContext:
    """Return a context whose processes are forks of one that has what replicas import.

    Their environment is that of the first of them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTED])
    return context


def python(*, is_warm: bool) -> list[str]:
    """Return the command of a Python: forked, or for what must be told before it begins."""
    return launcher() if is_warm else [sys.executable]
