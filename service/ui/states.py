"""How the states of jobs look: a word, a symbol and a colour. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trainer.contract.status import Status

Kind = Literal["wait", "busy", "run", "hold", "again", "good", "bad", "off"]

_KINDS: Mapping[Status, Kind] = {
    Status.QUEUED: "wait",
    Status.STARTING: "busy",
    Status.RUNNING: "run",
    Status.PAUSING: "busy",
    Status.PAUSED: "hold",
    Status.RETRYING: "again",
    Status.CANCELLING: "busy",
    Status.SUCCEEDED: "good",
    Status.FAILED: "bad",
    Status.CANCELLED: "off",
}


@dataclass(frozen=True, kw_only=True)
class ShownState:
    """For the macro `state` of _macros.html."""

    kind: Kind
    text: str


def shown(status: Status) -> ShownState:
    """Show a status."""
    return ShownState(kind=_KINDS[status], text=status.capitalize())
