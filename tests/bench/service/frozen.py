"""Processes that stand still while others are measured: so two may take turns by the second."""

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator

import psutil

# One that is frozen may just have started another.
_MOST_LOOKS = 20


class Frozen:
    """A group of processes, told anew at every look, that can be stopped and sent on."""

    def __init__(self, processes: Callable[[], Iterable[psutil.Process]]) -> None:
        self._processes = processes
        self._stopped: dict[int, psutil.Process] = {}

    def freeze(self) -> None:
        """Stop all of them, and what they start meanwhile."""
        for _ in range(_MOST_LOOKS):
            found = [one for one in self._processes() if one.pid not in self._stopped]
            if not found:
                return
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGSTOP)
                    self._stopped[process.pid] = process
        raise RuntimeError("processes come faster than they are frozen")

    def thaw(self) -> None:
        """Send on all that were stopped."""
        for process in self._stopped.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        self._stopped.clear()

    @contextlib.contextmanager
    def thawed(self) -> Iterator[None]:
        """Let them run within the block alone."""
        self.thaw()
        try:
            yield
        finally:
            self.freeze()


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that it has started; none once it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
