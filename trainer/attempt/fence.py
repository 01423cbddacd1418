"""What stops an attempt that is no longer current from committing."""

from collections.abc import Callable

from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.errors import StaleAttemptError


class Fence:
    """Asks the run directory, and what the control plane said, whether an attempt is current."""

    def __init__(self, attempt: AttemptDirectory, disowned: Callable[[], bool]) -> None:
        self._attempt = attempt
        self._disowned = disowned

    def check(self) -> None:
        """Raise StaleAttemptError if a later attempt exists or the control plane said so."""
        number = self._attempt.number
        newest = RunDirectory(self._attempt.run).newest_attempt()
        if newest > number:
            raise StaleAttemptError(
                f"attempt {number} is no longer current: attempt {newest} has begun"
            )
        if self._disowned():
            raise StaleAttemptError(
                f"attempt {number} is no longer current: the control plane refused its events"
            )
