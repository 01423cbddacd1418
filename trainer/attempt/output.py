"""All that an attempt's processes print, straight into its log, as it is printed.

Not by way of Ray, which keeps what workers print on their node, and passes it on to a driver while
its head lives: what a process says as it dies is in the log, whatever died with it.
"""

import faulthandler
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from trainer.contract.run_directory import AttemptDirectory

MAX_LOG_BYTES = 64 << 20
# Beyond that the latest is kept, at least half of so much: how it ended is told at the end.
MAX_END_BYTES = 2 << 20
_CUT = "\n--- the log of an attempt holds {:,} bytes; what was printed here is cut out ---\n"
_CHECK_S = 1.0


@dataclass(frozen=True)
class Console:
    """Where this process printed before."""

    out: TextIO
    err: TextIO


def capture_output(attempt: AttemptDirectory) -> Console:
    """Have this process, and those that it starts from now on, print into the attempt's log."""
    console = Console(*(os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2)))
    log = os.open(attempt.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        stream.flush()
        # Lines arrive as they are printed, not a buffer at a time.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
        os.dup2(log, number)
    os.close(log)
    faulthandler.enable(file=2)
    return console


class LogBound(threading.Thread):
    """Keeps an attempt's log from growing without end. One for all of the attempt's processes.

    They append, wherever the file then ends: what is cut off leaves no hole.
    """

    def __init__(self, log: Path) -> None:
        super().__init__(name="log bound", daemon=True)
        self._log = log

    def run(self) -> None:
        """Look now and then, until the process ends."""
        while True:
            # Where its disk is away, nothing grows either.
            with suppress(OSError):
                cut(self._log)
            time.sleep(_CHECK_S)


def cut(log: Path) -> None:
    """Cut the middle out of a log that is too long, and say so there."""
    size = log.stat().st_size
    if size <= MAX_LOG_BYTES + MAX_END_BYTES:
        return
    with log.open("rb") as file:
        file.seek(size - MAX_END_BYTES // 2)
        _, _, end = file.read().partition(b"\n")
    os.truncate(log, MAX_LOG_BYTES)
    with log.open("ab") as file:
        file.write(_CUT.format(MAX_LOG_BYTES).encode() + end)
