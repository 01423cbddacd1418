"""The logs of a job's attempts, read from any place on as they grow."""

import codecs
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.run_files.confined import NoSuchFileError
from service.run_files.content import FileContent
from trainer.contract.log_cut import MAX_LOG_BYTES, NOTICE_BYTES
from trainer.contract.run_directory import RunDirectory

BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, order=True)
class Place:
    """Where a reader is: in the log of an attempt, before this byte."""

    attempt: int
    offset: int

    def __str__(self) -> str:
        return f"{self.attempt}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read ATTEMPT:OFFSET, which a place is written as."""
        attempt, _, offset = text.partition(":")
        return cls(int(attempt), int(offset))


@dataclass(frozen=True)
class Piece:
    """Some of a log: whole lines, unless one is longer than a block or the log ends in it."""

    place: Place
    content: bytes

    @property
    def following(self) -> Place:
        """Where what follows begins."""
        return Place(self.place.attempt, self.place.offset + len(self.content))

    @property
    def text(self) -> str:
        """The content; what is no UTF-8 is replaced."""
        return self.content.decode(errors="replace")


def open_log(run: Path, attempt: int) -> FileContent:
    """Open the log of an attempt. Raises NoSuchFileError, or OSError."""
    file = RunDirectory(run).attempt(attempt).log
    return FileContent(run, file.relative_to(run).as_posix(), grows=True)


def read_piece(run: Path, place: Place, *, is_over: bool) -> Piece | None:
    """Return what follows in the attempt's log; `is_over`: nothing will be added to it.

    None: nothing yet, or half a line of a log that grows. Where the log was cut, and ends before
    the place, what is left behind the cut is given again: better twice than not at all. Raises
    OSError, of a log that is gone, too.
    """
    try:
        log = open_log(run, place.attempt)
    except NoSuchFileError as error:
        if place.offset > 0:
            problem = f"the log of attempt {place.attempt} is gone"
            raise FileNotFoundError(errno.ENOENT, problem) from error
        return None
    try:
        if place.offset > log.size_bytes > MAX_LOG_BYTES:
            place = Place(place.attempt, MAX_LOG_BYTES - NOTICE_BYTES)
        stop = min(log.size_bytes, place.offset + BLOCK_BYTES)
        block = log.read(place.offset, stop) if stop > place.offset else b""
        ends = is_over and stop == log.size_bytes
    finally:
        log.close()
    content = block[: whole(block, is_end=ends)]
    return Piece(place, content) if content else None


def whole(block: bytes, *, is_end: bool) -> int:
    """Return how many bytes of a block are whole lines; in a full one without any, characters.

    Pure. `is_end`: nothing follows, so that all of it is whole.
    """
    if is_end:
        return len(block)
    lines = block.rfind(b"\n") + 1
    if lines or len(block) < BLOCK_BYTES:
        return lines
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder.decode(block)
    held, _ = decoder.getstate()
    return len(block) - len(held)


def tail_start(read: Callable[[int, int], bytes], size: int, num_lines: int) -> tuple[int, int]:
    """Return where the last lines of a file begin, and how many of them there are, from its end.

    A block is read at a time, and no more than the lines have.
    """
    if num_lines == 0 or size == 0:
        return size, 0
    # The newline at the very end ends the last line, and begins none.
    stop, found = size - 1, 0
    while stop > 0:
        start = max(stop - BLOCK_BYTES, 0)
        block = read(start, stop)
        end = len(block)
        while (end := block.rfind(b"\n", 0, end)) >= 0:
            found += 1
            if found == num_lines:
                return start + end + 1, num_lines
        stop = start
    return 0, found + 1


def tail_of(run: Path, attempts: Sequence[int], num_lines: int) -> Place:
    """Return where the last lines of the attempts' logs begin; `attempts` in order, not none.

    Raises OSError.
    """
    for attempt in reversed(attempts):
        try:
            log = open_log(run, attempt)
        except NoSuchFileError:
            continue
        try:
            start, found = tail_start(log.read, log.size_bytes, num_lines)
        finally:
            log.close()
        num_lines -= found
        if num_lines == 0:
            return Place(attempt, start)
    return Place(attempts[0], 0)
