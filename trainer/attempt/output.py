"""All that an attempt's processes print, straight into its log, as it is printed.

Not by way of Ray, which keeps what workers print on their node, and passes it on to a driver while
its head lives: what a process says as it dies is in the log, whatever died with it.
"""

import ctypes
import errno
import faulthandler
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from trainer.contract.log_cut import MAX_LOG_BYTES, NOTICE_BYTES, notice, told_bytes
from trainer.contract.run_directory import AttemptDirectory

# Beyond MAX_LOG_BYTES the latest is kept, at least half of so much: how it ended is told at the
# end.
MAX_END_BYTES = 2 << 20
# Where others print while a log is cut and appended to, the line may come a little later.
_LOOK_BYTES = 1 << 16
_CHECK_S = 1.0
_FALLOC_FL_COLLAPSE_RANGE = 0x08


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
    """Cut the middle out of a log that is too long, and say there how many bytes are gone.

    Nothing else is lost where the file system can take blocks out of a file (ext4, XFS); elsewhere
    what is printed in the very moment is cut out too, so that at least so many are gone.
    """
    size = log.stat().st_size
    if size <= MAX_LOG_BYTES + MAX_END_BYTES:
        return
    end = size - MAX_END_BYTES // 2
    try:
        _cut_in_place(log, end)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
        _cut_and_append(log, end)


def _cut_in_place(log: Path, end: int) -> None:
    with log.open("r+b", buffering=0) as file:
        block = os.fstatvfs(file.fileno()).f_bsize
        first, last = MAX_LOG_BYTES // block * block, end // block * block
        begin = first - NOTICE_BYTES
        before = _gone_before(file.fileno(), begin)
        _collapse(file.fileno(), first, last - first)
        # Over the end of what is kept of the beginning: the blocks on both sides stay whole.
        gone = before + last - first
        os.pwrite(file.fileno(), notice(gone, at_least=False), begin)


def _gone_before(file: int, begin: int) -> int:
    """Return how much is gone once the line at `begin` is written over, by the one there now."""
    told = told_bytes(os.pread(file, _LOOK_BYTES, begin))
    # Else what is written over is of the log itself.
    return told or NOTICE_BYTES


def _collapse(file: int, first: int, length: int) -> None:
    """Take a range of whole blocks out of a file; fallocate(2)."""
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(file, _FALLOC_FL_COLLAPSE_RANGE, first, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _cut_and_append(log: Path, end: int) -> None:
    begin = MAX_LOG_BYTES - NOTICE_BYTES
    with log.open("rb") as file:
        before = _gone_before(file.fileno(), begin)
        file.seek(end)
        _, _, kept = file.read().partition(b"\n")
        size = os.fstat(file.fileno()).st_size
    os.truncate(log, begin)
    gone = before + size - len(kept) - MAX_LOG_BYTES
    with log.open("ab") as file:
        file.write(notice(gone, at_least=True) + kept)
