"""Whether an attempt gets on, as rank 0 judges it: for the others wait for it when it stands.

A step that takes many times the median one is a hang: a replica, a disk or a device that does not
answer, and a collective that waits for it for ever. What is no step has phases of its own, in which
far more is borne: the start with its compiling, evaluations, checkpoints, the end.

Nobody learns by it that rank 0 itself is frozen; the control plane does, to which it gives a sign
of life as long as it finds that the attempt gets on.
"""

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

POLL_S = 1.0
# The control plane waits for many of them (service.jobs.silence).
SIGN_EVERY_S = 5.0
# Borne where no step is due. Assumed: longer than the largest checkpoint takes on a slow file
# server, or one batch of an evaluation on a slow machine.
LONG_S = 1800.0
# Steps of which the median is taken.
NUM_STEPS = 101


class Watchdog:
    """Watches from a thread while it is entered. Not entered, it only takes notes."""

    def __init__(
        self,
        *,
        factor: float | None = None,
        floor_s: float = 60.0,
        on_hang: Callable[[str], None] = lambda _: None,
        on_sign: Callable[[], None] = lambda: None,
    ) -> None:
        """`factor`: times the median step that make a hang, if that is `floor_s`; None: nothing is.

        `on_hang` is told what was waited for, once; `on_sign` is called every few seconds until
        then. Both by the thread.
        """
        self._factor = factor
        self._floor_s = floor_s
        self._on_hang = on_hang
        self._on_sign = on_sign
        self._phase: str | None = "its start"
        """What it does instead of steps."""
        self._moves = 0
        """Grows with all that is done."""
        self._steps_s: deque[float] = deque(maxlen=NUM_STEPS)
        self._stepped_at_s: float | None = None
        self._seen_moves = 0
        self._still_s = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Watch no longer."""
        self._closing.set()
        # It may hang itself, where the disk of its signs does.
        self._thread.join(2 * POLL_S)

    # What the attempt says

    def note_step(self) -> None:
        """Note that a step was done, and that the next is begun."""
        now_s = time.monotonic()
        if self._stepped_at_s is not None:
            self._steps_s.append(now_s - self._stepped_at_s)
        self._stepped_at_s = now_s
        self._phase = None
        self._moves += 1

    def stand(self, phase: str) -> None:
        """Note that no step is done from now on, for what."""
        self._phase = phase
        self._moves += 1

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """No step is done meanwhile, for what; its time is no step's."""
        before = self._phase
        self.stand(phase)
        try:
            yield
        finally:
            self._phase = before
            self._stepped_at_s = None if self._stepped_at_s is None else time.monotonic()
            self._moves += 1

    def passing(self, parts: Iterable[T]) -> Iterator[T]:
        """Yield parts of a phase, each of which may take long."""
        for part in parts:
            self._moves += 1
            yield part

    # What the thread makes of it

    def look(self, elapsed_s: float) -> str | None:
        """Return what is waited for in vain, so long after the last look; None: it gets on.

        Of that time no more counts than two polls: longer, this process was itself frozen.
        """
        moves = self._moves
        if moves != self._seen_moves:
            self._seen_moves, self._still_s = moves, 0.0
            return None
        self._still_s += min(elapsed_s, 2 * POLL_S)
        if self._factor is None:
            return None
        steps_s, phase = list(self._steps_s), self._phase
        median_s = statistics.median(steps_s) if steps_s else None
        limit_s = max(self._floor_s, self._factor * (median_s or 0.0))
        if phase is not None or median_s is None:
            if self._still_s < max(limit_s, LONG_S):
                return None
            return f"nothing moves since {self._still_s:,.0f} s within {phase or 'its start'}"
        if self._still_s < limit_s:
            return None
        return f"no step was done for {self._still_s:,.0f} s, where one takes {median_s:,.3g} s"

    def _watch(self) -> None:
        looked_at_s, signed_at_s = time.monotonic(), float("-inf")
        while not self._closing.wait(POLL_S):
            now_s = time.monotonic()
            hang = self.look(now_s - looked_at_s)
            looked_at_s = now_s
            if hang is not None:
                self._on_hang(hang)
                return
            if now_s - signed_at_s >= SIGN_EVERY_S:
                signed_at_s = now_s
                self._on_sign()
