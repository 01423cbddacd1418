"""Where everything lies in a tar of files whose sizes are known: no file is read for it. Pure."""

import tarfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """A file of the tar."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Span:
    """Bytes [start, stop) of a member."""

    member: int
    start: int
    stop: int


class TarLayout:
    """A tar that depends on nothing but names and sizes: no time, no owner."""

    def __init__(self, members: Sequence[Member]) -> None:
        parts: list[bytes | Span] = []
        for number, member in enumerate(members):
            parts.append(_header(member))
            if member.size_bytes:
                parts.append(Span(number, 0, member.size_bytes))
            parts.append(bytes(-member.size_bytes % tarfile.BLOCKSIZE))
        parts.append(bytes(2 * tarfile.BLOCKSIZE))
        parts.append(bytes(-sum(map(_length, parts)) % tarfile.RECORDSIZE))
        self._parts = [part for part in parts if _length(part)]
        self._starts = [0]
        for part in self._parts:
            self._starts.append(self._starts[-1] + _length(part))
        self.size_bytes = self._starts[-1]

    def between(self, start: int, stop: int) -> Iterator[bytes | Span]:
        """Yield what bytes [start, stop) of the tar are made of, in order."""
        place = bisect_right(self._starts, start) - 1
        while start < stop:
            part, begin = self._parts[place], self._starts[place]
            end = min(stop, self._starts[place + 1])
            if isinstance(part, Span):
                yield Span(part.member, start - begin, end - begin)
            else:
                yield part[start - begin : end - begin]
            start, place = end, place + 1


def _length(part: bytes | Span) -> int:
    return len(part) if isinstance(part, bytes) else part.stop - part.start


def _header(member: Member) -> bytes:
    entry = tarfile.TarInfo(member.name)
    entry.size = member.size_bytes
    entry.mode = 0o644
    # GNU's: USTAR has no room for sizes of 8 GiB and more.
    return entry.tobuf(tarfile.GNU_FORMAT)
