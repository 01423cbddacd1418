"""The bench's side of a contender: its process, its turns, the memory it takes."""

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.bench.data.memory import Memory, family, memory_of

_SAMPLE_INTERVAL_S = 0.05


class ContenderDiedError(Exception):
    """A contender's process ended before its turn was over."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Something that gives batches, and how its process is started."""

    name: str
    python: Path
    module: str
    arguments: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        """The process's command line, for the repository's root."""
        return [str(self.python), "-m", f"tests.bench.data.{self.module}", *self.arguments]


@dataclass
class Results:
    """What was measured of one contender."""

    rates: list[float] = field(default_factory=list)
    """Images a second, by round."""
    peak: Memory | None = None
    """Of its process and all that this started."""
    absent: str | None = None
    """Why it was not measured."""


class Running:
    """A contender's process; a context manager. Raises ContenderDiedError."""

    def __init__(self, contender: Contender, logs: Path) -> None:
        self._name = contender.name
        self._log = logs / f"{contender.module}-{contender.name.replace(' ', '-')}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                contender.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def wait_ready(self) -> dict[str, str]:
        """Return the versions that it tells when it is ready."""
        versions: dict[str, str] = self._answer()["versions"]
        return versions

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command and return the answer."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
        return self._answer()

    def turn(self) -> float:
        """Take a turn; return images a second."""
        answer = self.ask("turn")
        return float(answer["images"] / answer["seconds"])

    def warm_up(self) -> Memory:
        """Take a turn that is not timed, and return the most memory seen meanwhile."""
        with _sampled(self.pid) as seen:
            self.ask("turn")
        return max(seen, key=lambda each: each.whole)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        said = self._log.read_text(errors="replace").strip().splitlines() or ["nothing"]
        raise ContenderDiedError(f"{self._name} ended, and said last: {said[-1]}")


@contextlib.contextmanager
def _sampled(pid: int) -> Iterator[list[Memory]]:
    """Look at the memory of a process and its descendants again and again."""
    seen: list[Memory] = []
    over = threading.Event()

    def look() -> None:
        while True:
            seen.append(memory_of(family(pid)))
            if over.wait(_SAMPLE_INTERVAL_S):
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
