"""Finishes deletions that were left half done, in a thread of its own, while this process leads.

To remove a large run directory takes minutes, and nothing else is to wait for that.
"""

import logging
import threading
from collections.abc import Callable

from service.reconciling.deletion import Deletions
from service.store.leases import LostLeadershipError

logger = logging.getLogger(__name__)

# All names in the run root are read for it. Assumed: what is half deleted may lie so long.
EVERY_S = 60.0
# Assumed: what takes longer is left half done, as by a crash.
STOP_PATIENCE_S = 5.0


class Finisher:
    """Looks for what is to be finished now and then. `start` it once, `stop` it once."""

    def __init__(
        self,
        deletions: Deletions,
        *,
        is_leader: Callable[[], bool],
        every_s: float = EVERY_S,
    ) -> None:
        self._deletions = deletions
        self._is_leader = is_leader
        self._every_s = every_s
        self._stopping = threading.Event()
        self._wake = threading.Event()
        # A disk that hangs keeps no process from ending.
        self._thread = threading.Thread(target=self._run, name="deletions", daemon=True)

    def start(self) -> None:
        """Finish in the background."""
        self._thread.start()

    def wake(self) -> None:
        """Look now: this process has begun to lead."""
        self._wake.set()

    def begin_stop(self) -> None:
        """Have it end; returns at once."""
        self._stopping.set()
        self._wake.set()

    def stop(self) -> None:
        """End; a deletion that takes long is broken off, and finished by the next leader."""
        self.begin_stop()
        if self._thread.is_alive():
            self._thread.join(STOP_PATIENCE_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._is_leader():
                    self._deletions.finish(self._stopping.is_set)
            except LostLeadershipError as error:
                # Whoever leads now finishes them.
                logger.warning("%s", error)
            except Exception:
                # A loop that died would leave files hidden for ever, and nobody told.
                logger.exception("deletions could not be finished; it is tried again")
            self._wake.wait(self._every_s)
            self._wake.clear()
