"""What stops an attempt that is no longer current from committing."""

from collections.abc import Callable

from pydantic import ValidationError

from trainer.contract.order_file import read_order
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.errors import StaleAttemptError


class Fence:
    """Asks the run directory, and what the control plane said, whether an attempt is current."""

    def __init__(
        self, attempt: AttemptDirectory, disowned: Callable[[], bool], *, fence: int = 0
    ) -> None:
        """`fence`: of this attempt's order."""
        self._attempt = attempt
        self._disowned = disowned
        self._fence = fence

    def check(self) -> None:
        """Raise StaleAttemptError if a later attempt exists or the control plane said so."""
        number = self._attempt.number
        newest = RunDirectory(self._attempt.run).newest_attempt()
        for later in range(number + 1, newest + 1):
            if self._has_begun(later):
                raise StaleAttemptError(
                    f"attempt {number} is no longer current: attempt {later} has begun"
                )
        if self._disowned():
            raise StaleAttemptError(
                f"attempt {number} is no longer current: the control plane refused its events"
            )

    def _has_begun(self, later: int) -> bool:
        """Whether a later folder may be of an attempt that the store knows.

        Without an order it has not come so far. One that cannot be read may be anybody's, and is
        obeyed: two attempts that both write cost more than one that ends. An order with a lower
        fence than this attempt's is of a leader that thawed in another's term, and that the store
        then refused.
        """
        try:
            order = read_order(RunDirectory(self._attempt.run).attempt(later))
        except FileNotFoundError:
            return False
        except ValidationError:
            return True
        return order.fence >= self._fence
