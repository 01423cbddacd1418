"""Whether an attempt gets on, as rank 0 judges it: for the others wait for it when it stands.

A step that takes many times the median one is a hang: a replica, a disk or a device that does not
answer, and a collective that waits for it for ever. What is no step has phases of its own, in which
far more is borne: the stages of the start, evaluations, checkpoints, the end. So has waiting
for data, in whichever replica, for loaders bear a store that is slow or away, and give up by
themselves: as long as shards arrive, however slowly, the attempt gets on, and when nothing does,
no less is borne than loaders bear. Each replica tells rank 0 whether it waits
(`trainer.attempt.pulse`). One that tells nothing more while nothing moves, and did not tell that it
is done, is frozen or gone, before its first step too, when nobody knows yet how long a step takes.

Nobody learns by it that rank 0 itself is frozen; the control plane does, to which it gives a sign
of life as long as it finds that the attempt gets on.
"""

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self, TypeVar

from trainer.attempt.pulse import Pulse, news
from trainer.attempt.silences import Silences

T = TypeVar("T")

POLL_S = 1.0
# The control plane waits for many of them (service.jobs.silence).
SIGN_EVERY_S = 5.0
# Who told that it waits for data is taken to do so until it might have told three times.
TOLD_FOR_S = 3 * SIGN_EVERY_S
# Borne at least where no step is due. Assumed: longer than the largest checkpoint takes on a slow
# file server, or one batch of an evaluation on a slow machine.
LONG_S = 1800.0
# Borne of each stage before the first step. Assumed: longer than a node takes to compile or to load
# a checkpoint; and less than the others wait in a sum (gloo's half hour), and then call a crash.
START_S = 900.0
# Times the floor that a replica may tell nothing, and at least: with the default floor as long as
# the control plane bears it of rank 0.
SILENT_FLOORS, SILENT_S = 2.0, 60.0
ITS_END = "its end"
# What is raised where no hang is to be seen in it.
_FACTOR, _FLOOR = "(retry.hang_factor)", "(retry.hang_floor_s)"
# Steps of which the median is taken.
NUM_STEPS = 101


class Feed(Protocol):
    """What loaders tell of themselves while they are waited for."""

    @property
    def arrivals(self) -> int:
        """Another number whenever some of what they wait for has arrived."""
        ...

    @property
    def patience_s(self) -> float:
        """For how long they bear it that nothing does."""
        ...


class Watchdog:
    """Watches from a thread while it is entered. Not entered, it only takes notes."""

    def __init__(
        self,
        *,
        factor: float | None = None,
        floor_s: float = 60.0,
        num_replicas: int = 1,
        on_hang: Callable[[str], None] = lambda _: None,
        on_sign: Callable[[Pulse], None] = lambda _: None,
        read_others: Callable[[], Mapping[int, Pulse]] = dict,
    ) -> None:
        """`factor`: times the median step that make a hang, if that is `floor_s`; None: nothing is.

        `on_hang` is told what was waited for, once; `on_sign` is told every few seconds until then
        how this replica gets on, and `read_others` asked how the others do. All by the thread.
        """
        self._factor = factor
        self._floor_s = floor_s
        self._on_hang = on_hang
        self._on_sign = on_sign
        self._read_others = read_others
        self._phase: str | None = "its start"
        """What it does instead of steps."""
        self._borne_s = START_S
        """For how long nothing may move in that."""
        self._moves = 0
        """Grows with all that is done."""
        self._steps_s: deque[float] = deque(maxlen=NUM_STEPS)
        self._stepped_at_s: float | None = None
        self._waits_for_data = False
        self._feed: Feed | None = None
        self._patience_s = LONG_S
        """What is borne of a wait for data, in whichever replica."""
        self._told_arrivals: int | None = None
        self._arrivals = 0
        """Grows with all that loaders tell of."""
        self._beat = 0
        self._others: Mapping[int, Pulse] = {}
        self._silences = Silences(num_replicas)
        self._moves_of_others = 0
        self._others_wait_s = 0.0
        """For how much longer they are taken to wait for data."""
        self._seen_moves = 0, 0
        self._still_s = 0.0
        self._fed_still_s = 0.0
        """That in which nobody is known to have waited for data."""
        self._is_done = False
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
        """Watch no longer; what ends well has its thread tell so."""
        self._is_done = kind is None
        self._closing.set()
        # It may hang itself, where the disk of its signs does.
        self._thread.join(2 * POLL_S)

    # What the attempt says

    def begin(self, stage: str) -> None:
        """Note which stage of its start begins, before the first step."""
        self._phase, self._borne_s = stage, START_S
        self._moves += 1

    def note_step(self) -> None:
        """Note that a step was done, and that the next is begun."""
        now_s = time.monotonic()
        if self._stepped_at_s is not None:
            self._steps_s.append(now_s - self._stepped_at_s)
        self._stepped_at_s = now_s
        self._phase, self._borne_s = None, LONG_S
        self._moves += 1

    def stand(self, phase: str) -> None:
        """Note that no step is done from now on, for what."""
        self._phase, self._borne_s = phase, LONG_S
        self._moves += 1

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """No step is done meanwhile, for what; its time is no step's."""
        before = self._phase, self._borne_s
        self.stand(phase)
        try:
            yield
        finally:
            self._phase, self._borne_s = before
            self._stepped_at_s = None if self._stepped_at_s is None else time.monotonic()
            self._moves += 1

    def fed(self, batches: Iterable[T], feed: Feed | None = None) -> Iterator[T]:
        """Yield what loaders give, `feed`'s; whoever asks for the next waits for data."""
        batches = iter(batches)
        if feed is not None:
            self._patience_s = max(self._patience_s, feed.patience_s)
        while True:
            # Only while it waits: what loaders do ahead says nothing of a step.
            self._waits_for_data, self._feed = True, feed
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self._waits_for_data, self._feed = False, None
                self._moves += 1
            yield batch

    # What the thread makes of it

    def pulse(self) -> Pulse:
        """Return how this replica gets on, to be told now."""
        self._beat += 1
        return Pulse(
            beat=self._beat,
            moves=self._moved(),
            waits_for_data=self._waits_for_data,
            is_done=self._is_done,
        )

    def hear(self, others: Mapping[int, Pulse]) -> None:
        """Take what the other replicas told last, by rank."""
        self._silences.hear(others)
        heard = news(self._others, others)
        self._others = {**self._others, **others}
        self._moves_of_others += heard.moved
        if heard.wait_for_data:
            self._others_wait_s = TOLD_FOR_S
        if heard.still_wait:
            # Its pulses come slowly: it waited between them too.
            self._fed_still_s = 0.0

    def look(self, elapsed_s: float) -> str | None:
        """Return what is waited for in vain, so long after the last look; None: it gets on.

        Of that time no more counts than two polls: longer, this process was itself frozen.
        """
        elapsed_s = min(elapsed_s, 2 * POLL_S)
        somebody_waits = self._waits_for_data or self._others_wait_s > 0
        self._others_wait_s -= elapsed_s
        self._silences.go_by(elapsed_s)
        moves = self._moved(), self._moves_of_others
        if moves != self._seen_moves:
            self._seen_moves, self._still_s, self._fed_still_s = moves, 0.0, 0.0
            return None
        self._still_s += elapsed_s
        self._fed_still_s += 0.0 if somebody_waits else elapsed_s
        if self._factor is None:
            return None
        steps_s, phase = list(self._steps_s), self._phase
        median_s = statistics.median(steps_s) if steps_s else None
        limit_s = max(self._floor_s, self._factor * (median_s or 0.0))
        if self._others:
            # So long it may take until it is told that another waits for data.
            limit_s = max(limit_s, TOLD_FOR_S)
        within = "a wait for data" if somebody_waits else phase or "a step"
        if (frozen := self._frozen(phase)) is not None:
            return f"{frozen} within {within}: its process is frozen or gone {_FLOOR}"
        long_s = self._patience_s if somebody_waits else self._borne_s
        if self._still_s >= max(limit_s, long_s):
            return f"nothing moves since {self._still_s:,.0f} s within {within} {_FLOOR}"
        if phase is not None or median_s is None or self._fed_still_s < limit_s:
            return None
        still = f"no step was done for {self._still_s:,.0f} s, where one takes {median_s:,.3g} s"
        return f"{still} {_FACTOR}"

    def _frozen(self, phase: str | None) -> str | None:
        """Return which of the others tells nothing while nothing moves; None: all get on."""
        silence = self._silences.longest()
        # At the end each goes when it is done.
        if silence is None or phase == ITS_END:
            return None
        borne_s = max(SILENT_S, SILENT_FLOORS * self._floor_s)
        if min(silence.seconds, self._still_s) < borne_s:
            return None
        return f"replica {silence.rank} gave no sign of life for {silence.seconds:,.0f} s"

    def _moved(self) -> int:
        """Return how much was done, and how often loaders told that something arrived."""
        feed = self._feed
        if feed is not None and (told := feed.arrivals) != self._told_arrivals:
            self._told_arrivals = told
            self._arrivals += 1
        return self._moves + self._arrivals

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
                self.hear(self._read_others())
                self._on_sign(self.pulse())
        if self._is_done:
            self._on_sign(self.pulse())
