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
    """Jobs that were paused for it, and whose owners have asked for nothing since."""


def read_drain(connection: Connection, *, lock: bool = False) -> Drain | None:
    """Return the drain that is on; None: none. `lock`: nobody else changes it; before any job."""
    query = select(switches.c.value).where(switches.c.name == _DRAIN)
    value = connection.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    if value is None:
        return None
    return Drain(
        since=datetime.fromisoformat(value["since"]),
        pause=value["pause"],
        paused=tuple(value["paused"]),
    )


def begin_drain(connection: Connection, by: Caller, now: datetime, *, pause: bool) -> Drain:
    """Begin to drain, or go on with it: a drain that pauses does so until it ends."""
    before = read_drain(connection, lock=True)
    drain = Drain(since=now, pause=pause) if before is None else before
    drain = replace(drain, pause=drain.pause or pause)
    _write(connection, drain)
    note_audit(connection, by, Action.DRAIN, None, now, pause=pause)
    return drain


def pause_for_drain(connection: Connection) -> tuple[str, ...]:
    """Ask what runs to pause, where the drain is one that pauses; return who was asked."""
    drain = read_drain(connection, lock=True)
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


def keep_wish(connection: Connection, job_id: str) -> None:
    """Have the end of a drain leave a job as its owner is about to ask, in this transaction.

    Before the job is locked.
    """
    drain = read_drain(connection, lock=True)
    if drain is not None and job_id in drain.paused:
        others = tuple(paused for paused in drain.paused if paused != job_id)
        _write(connection, replace(drain, paused=others))


def end_drain(connection: Connection, by: Caller, now: datetime) -> None:
    """Let attempts begin again, of what was paused for the drain too. Ending none is nothing."""
    drain = read_drain(connection, lock=True)
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
    note_audit(connection, by, Action.UNDRAIN, None, now, resumed=list(found))


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
