"""What stands in the way of each job, so that only a change of it is logged."""


class Troubles:
    """What was last logged, by whatever it was logged of."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def is_news(self, of: str, trouble: str | None) -> bool:
        """Remember a trouble, or None when it is over; say whether it has changed."""
        if trouble == self._known.get(of):
            return False
        if trouble is None:
            del self._known[of]
        else:
            self._known[of] = trouble
        return True
