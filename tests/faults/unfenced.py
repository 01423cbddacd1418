"""A control plane without fences that believes it leads for ever: what tests must catch."""

from sqlalchemy import Connection

from service.reconciling.leadership import Leadership
from service.reconciling.lease import Leading
from service.store import leases
from service.terminal.cli import main


def _unchecked(_connection: Connection, _fence: int) -> None:
    return


def _believes(_leading: Leading, _now_s: float) -> bool:
    return True


def _does_not_look(_leadership: Leadership) -> None:
    return


if __name__ == "__main__":
    leases.check_fence = _unchecked  # type: ignore[assignment]
    Leading.holds = _believes  # type: ignore[method-assign, assignment]
    Leadership._renew = _does_not_look  # type: ignore[method-assign, assignment]
    main()
