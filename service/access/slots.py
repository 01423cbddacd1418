"""How many streams or downloads are open at once, in all and of each sender."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class NoSlotError(Exception):
    """As many are open as may be; the message says what to do."""

    def __init__(self, message: str, *, is_own: bool) -> None:
        """`is_own`: it is the sender who has as many as one may."""
        super().__init__(message)
        self.is_own = is_own


class Slots:
    """Counts what is open of one kind. For one event loop alone."""

    def __init__(self, kind: str, limit: int, *, per_sender: int, mend: str) -> None:
        """`kind`, in the plural, and `mend` are for people: what else to do, and the setting."""
        self._kind = kind
        self._limit = limit
        self._per_sender = per_sender
        self._mend = mend
        self._num_open: Counter[str | None] = Counter()

    @contextmanager
    def take(self, sender: str | None) -> Iterator[None]:
        """Hold one while the block runs. Raises NoSlotError before it.

        `sender` None: it is not known whose it is, and only what is open in all is bounded.
        """
        if sender is not None and self._num_open[sender] >= self._per_sender:
            raise NoSlotError(
                f"you have {self._per_sender} {self._kind} open, as many as one sender may; end "
                "one, or have the operator raise ALEXNET_MAX_OPEN_PER_SENDER",
                is_own=True,
            )
        if self._num_open.total() >= self._limit:
            raise NoSlotError(
                f"{self._limit} {self._kind} are open, as many as may be; {self._mend}",
                is_own=False,
            )
        self._num_open[sender] += 1
        try:
            yield
        finally:
            self._num_open[sender] -= 1
            if not self._num_open[sender]:
                del self._num_open[sender]
