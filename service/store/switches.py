"""What an operator has set while the service runs: that it drains."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from service.access.audit import Action
from service.access.caller import Caller
from service.store.audit import note_audit
from service.store.dialects import upsert
from service.store.tables import jobs, switches
from trainer.contract.status import ACTIVE, LIVE, Desired, Status

_DRAIN = "drain"


@dataclass(frozen=True, kw_only=True)
class Drain:
    """No attempt begins, for an upgrade."""

    since: datetime
    pause: bool
    """Whether what runs is paused, and goes on when the drain ends."""
    paused: tuple[str, ...] = ()
    """Jobs that were paused for it."""


def read_drain(connection: Connection) -> Drain | None:
    """Return the drain that is on; None: none."""
    value = connection.execute(
        select(switches.c.value).where(switches.c.name == _DRAIN)
    ).scalar_one_or_none()
    if value is None:
        return None
    return Drain(
        since=datetime.fromisoformat(value["since"]),
        pause=value["pause"],
        paused=tuple(value["paused"]),
    )


def begin_drain(connection: Connection, by: Caller, now: datetime, *, pause: bool) -> Drain:
    """Begin to drain, or go on with it: a drain that pauses does so until it ends."""
    before = read_drain(connection)
    drain = Drain(since=now, pause=pause) if before is None else before
    drain = replace(drain, pause=drain.pause or pause)
    _write(connection, drain)
    note_audit(connection, by, Action.DRAIN, None, now, pause=pause)
    return drain


def pause_for_drain(connection: Connection) -> tuple[str, ...]:
    """Ask what runs to pause, where the drain is one that pauses; return who was asked."""
    drain = read_drain(connection)
    if drain is None or not drain.pause:
        return ()
    found = _locked(
        connection,
        jobs.c.status.in_((Status.STARTING, Status.RUNNING)),
        jobs.c.desired == Desired.RUN,
    )
    if found:
        connection.execute(update(jobs).where(jobs.c.id.in_(found)).values(desired=Desired.PAUSE))
        _write(connection, replace(drain, paused=(*drain.paused, *found)))
    return found


def end_drain(connection: Connection, by: Caller, now: datetime) -> None:
    """Let attempts begin again, of what was paused for the drain too. Ending none is nothing."""
    drain = read_drain(connection)
    if drain is None:
        return
    found = _locked(
        connection,
        jobs.c.id.in_(drain.paused),
        jobs.c.desired == Desired.PAUSE,
        jobs.c.status.in_(LIVE),
    )
    connection.execute(update(jobs).where(jobs.c.id.in_(found)).values(desired=Desired.RUN))
    connection.execute(delete(switches).where(switches.c.name == _DRAIN))
    note_audit(connection, by, Action.UNDRAIN, None, now, resumed=list(drain.paused))


def num_active(connection: Connection) -> int:
    """Return how many jobs have an attempt that has not ended."""
    query = select(func.count()).select_from(jobs).where(jobs.c.status.in_(ACTIVE))
    return connection.execute(query).scalar_one()


def _locked(connection: Connection, *conditions: ColumnElement[bool]) -> tuple[str, ...]:
    """Return the ids of jobs, locked in the order in which reports lock theirs."""
    query = select(jobs.c.id).where(*conditions).order_by(jobs.c.id)
    return tuple(connection.execute(query.with_for_update(key_share=True)).scalars())


def _write(connection: Connection, drain: Drain) -> None:
    value = {**asdict(drain), "since": drain.since.isoformat()}
    upsert(connection, switches, [{"name": _DRAIN, "value": value}])
