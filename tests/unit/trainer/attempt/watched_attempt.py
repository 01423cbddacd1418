"""An attempt as a watchdog sees it, by a clock that is set by hand."""

from collections.abc import Callable, Iterator

from trainer.attempt.pulse import Pulse
from trainer.attempt.watchdog import SIGN_EVERY_S, Watchdog


class Clock:
    """Set by hand; stands for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


def step(watchdog: Watchdog, clock: Clock, *steps_s: float) -> None:
    for step_s in steps_s:
        clock.now_s += step_s
        watchdog.note_step()


def look_for(watchdog: Watchdog, seconds: float) -> str | None:
    """Look every second for so long; return the first finding."""
    return next((found for _ in range(int(seconds)) if (found := watchdog.look(1.0))), None)


class Store:
    """Batches from a store that is slow: `while_waiting` is called for each."""

    def __init__(self, while_waiting: Callable[[], None]) -> None:
        self._while_waiting = while_waiting

    def __iter__(self) -> Iterator[int]:
        while True:
            self._while_waiting()
            yield 0


class Loaders:
    """What loaders tell, by hand."""

    def __init__(self, patience_s: float) -> None:
        self.arrivals = 0
        self.patience_s = patience_s


def wait_for_shards(
    watchdog: Watchdog, loaders: Loaders, arrive_every_s: float | None, seconds: float
) -> str | None:
    """Wait so long for one batch; return what is found meanwhile."""
    found: list[str | None] = []

    def wait() -> None:
        watchdog.look(1.0)
        for second in range(int(seconds)):
            if arrive_every_s is not None and second % arrive_every_s == 0:
                loaders.arrivals = (loaders.arrivals + 1) % 256
            found.append(watchdog.look(1.0))

    next(watchdog.fed(Store(wait), loaders))
    return next(filter(None, found), None)


def hear_and_look(watchdog: Watchdog, seconds: float, tell: Callable[[], Pulse]) -> str | None:
    """Hear replica 1 every few seconds, and look every second, for so long."""
    for second in range(int(seconds)):
        if second % SIGN_EVERY_S == 0:
            watchdog.hear({1: tell()})
        if found := watchdog.look(1.0):
            return found
    return None
