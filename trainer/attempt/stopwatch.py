"""Where the time of a step goes: each moment of the loop's thread belongs to one phase.

A device that answers late does the work of a phase after the host has left it. So of what the host
spends queueing, and waiting for an answer, each phase has the share that the device tells.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from trainer.contract.events import Phase

# In these a host does no more for a device that answers late than to queue, or to wait.
_QUEUED: tuple[Phase, ...] = ("forward", "exchange", "backward", "optimizer", "compute")


class Stopwatch:
    """Adds up seconds by phase; for one thread."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.on_enter: Callable[[Phase], None] | None = None
        """Is told of each phase as it begins."""
        self.restart()

    def restart(self) -> None:
        """Begin anew, in no phase in particular."""
        self._seconds: dict[Phase, float] = {}
        self._of_device: dict[Phase, float] = {}
        self._is_told = False
        """Whether a device has told of its time since."""
        self._present: tuple[Phase, float] = ("other", self._clock())
        """The phase, and since when it is not in `_seconds`."""

    def enter(self, phase: Phase) -> None:
        """End the present phase and begin this one."""
        self._settle(phase)
        if self.on_enter is not None:
            self.on_enter(phase)

    @contextmanager
    def within(self, phase: Phase) -> Iterator[None]:
        """Be in a phase while the block runs, then again in the one before."""
        before, _ = self._present
        self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    @property
    def has_heard(self) -> bool:
        """Whether a device has told anything since the last reading."""
        return bool(self._of_device)

    def hear(self, of_device: Mapping[Phase, float]) -> None:
        """Hear how long a device was at each phase of a step."""
        self._is_told = True
        for phase, seconds in of_device.items():
            self._of_device[phase] = self._of_device.get(phase, 0.0) + seconds

    def read(self) -> dict[Phase, float]:
        """Return the seconds since the last reading by phase, and go on in the present one."""
        self._settle(self._present[0])
        seconds, self._seconds = self._seconds, {}
        of_device, self._of_device = self._of_device, {}
        return _shared_out(seconds, of_device)

    def unread(self) -> dict[Phase, float]:
        """Return what the next reading will have at least, the present phase's time so far too.

        For any thread. Without what is still to be shared out by what a device tells.
        """
        # In this order, and `_settle` in the other: what is moved meanwhile is missed, never twice.
        seconds = self._seconds.copy()
        phase, since = self._present
        seconds[phase] = seconds.get(phase, 0.0) + max(self._clock() - since, 0.0)
        if self._is_told:
            return {phase: spent for phase, spent in seconds.items() if phase not in _QUEUED}
        return seconds

    def _settle(self, then: Phase) -> None:
        now = self._clock()
        phase, since = self._present
        self._present = (then, now)
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - since


def _shared_out(
    seconds: Mapping[Phase, float], of_device: Mapping[Phase, float]
) -> dict[Phase, float]:
    """Give each phase its share, by the device's time, of what the host queued and waited."""
    device_s = sum(of_device.values())
    if device_s <= 0:
        return dict(seconds)
    shared = {phase: spent for phase, spent in seconds.items() if phase not in _QUEUED}
    queued_s = sum(seconds.get(phase, 0.0) for phase in _QUEUED)
    for phase, spent in of_device.items():
        shared[phase] = shared.get(phase, 0.0) + queued_s * spent / device_s
    return shared
