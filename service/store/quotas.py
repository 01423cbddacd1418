"""Quotas, and what owners have of what these limit."""

from dataclasses import asdict
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    case,
    func,
    literal,
    select,
)

from service.access.audit import Action
from service.access.caller import Caller
from service.access.quotas import UNLIMITED, Quota, Usage, is_gpu_time_spent
from service.store.audit import note_audit
from service.store.dialects import SecondsBetween, add, upsert
from service.store.tables import UtcDateTime, attempts, jobs, quotas, spent
from trainer.contract.status import ACTIVE, LIVE, Status

_WAITING = (Status.QUEUED, Status.RETRYING)
_SECONDS_PER_HOUR = 3600


class GpuTime(NamedTuple):
    """What a job held of GPUs, and whose it is."""

    owner: str | None
    seconds: float


def quota_of(connection: Connection, owner: str, *, lock: bool = False) -> Quota:
    """Return what an owner may have; `lock`: nobody else relies on it until this is committed."""
    query = select(quotas).where(quotas.c.owner == owner)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        return UNLIMITED
    values = dict(row._mapping)
    del values["owner"]
    return Quota(**values)


def all_quotas(connection: Connection) -> dict[str, Quota]:
    """Return the quota of each owner that has one."""
    owners = connection.execute(select(quotas.c.owner).order_by(quotas.c.owner)).scalars().all()
    return {owner: quota_of(connection, owner) for owner in owners}


def set_quota(connection: Connection, owner: str, quota: Quota, by: Caller, now: datetime) -> None:
    """Replace what an owner may have."""
    values = asdict(quota)
    upsert(connection, quotas, [{"owner": owner, **values}])
    note_audit(connection, by, Action.SET_QUOTA, owner, now, **values)


def usage_of(connection: Connection, owner: str, now: datetime) -> Usage:
    """Return what an owner has; disks are not measured here."""
    # Not a condition beside the other: SQLite would go through all that the owner ever had.
    is_owned = jobs.c.owner == owner
    counts = select(
        func.count().filter(is_owned, jobs.c.status.in_(ACTIVE)),
        func.count().filter(is_owned, jobs.c.status.in_(_WAITING)),
    ).where(jobs.c.status.in_(LIVE))
    active, queued = connection.execute(counts).one()
    return Usage(
        active_jobs=active, queued_jobs=queued, gpu_hours=_gpu_hours(connection, owner, now)
    )


def owners(connection: Connection) -> list[str]:
    """Return everyone who has jobs, or had, or has a quota."""
    found: set[str] = set()
    for column in (jobs.c.owner, quotas.c.owner, spent.c.owner):
        query = select(column).where(column.is_not(None)).distinct()
        found.update(connection.execute(query).scalars())
    return sorted(found)


def jobs_of(connection: Connection, owner: str) -> list[str]:
    """Return the ids of an owner's jobs, the oldest first."""
    query = select(jobs.c.id).where(jobs.c.owner == owner).order_by(jobs.c.seq)
    return list(connection.execute(query).scalars())


def active_limits(connection: Connection, now: datetime) -> dict[str, int]:
    """Return how many jobs of an owner may hold devices at once, of each who is limited.

    0 of those whose GPU-hours are spent.
    """
    limits: dict[str, int] = {}
    for owner, quota in all_quotas(connection).items():
        if quota.max_active_jobs is not None:
            limits[owner] = quota.max_active_jobs
        if quota.gpu_hours is not None:
            hours = _gpu_hours(connection, owner, now)
            if is_gpu_time_spent(quota, hours):
                limits[owner] = 0
    return limits


def gpu_time_of(connection: Connection, job_id: str, now: datetime) -> GpuTime:
    """Measure what a job took, as long as it is stored."""
    owner = connection.execute(select(jobs.c.owner).where(jobs.c.id == job_id)).scalar_one()
    return GpuTime(owner, _gpu_seconds(connection, attempts.c.job_id == job_id, now))


def keep_gpu_time(connection: Connection, taken: GpuTime) -> None:
    """Keep what a job that is being deleted took against its owner, if anybody owns it.

    Other deletions of the owner's jobs then wait until this one is committed.
    """
    if taken.owner is not None:
        add(connection, spent, {"owner": taken.owner, "gpu_seconds": taken.seconds})


def _gpu_hours(connection: Connection, owner: str, now: datetime) -> float:
    is_owned = attempts.c.job_id.in_(select(jobs.c.id).where(jobs.c.owner == owner))
    before = connection.execute(select(spent.c.gpu_seconds).where(spent.c.owner == owner)).scalar()
    return ((before or 0.0) + _gpu_seconds(connection, is_owned, now)) / _SECONDS_PER_HOUR


def _gpu_seconds(connection: Connection, which: ColumnElement[bool], now: datetime) -> float:
    """Sum what attempts held, from when Ray had them until they ended, or until now."""
    began_at = func.coalesce(attempts.c.submitted_at, attempts.c.created_at)
    ended_at = func.coalesce(attempts.c.ended_at, literal(now, UtcDateTime()))
    seconds = SecondsBetween(began_at, ended_at)
    # A clock that was set back gives nobody time back.
    held = attempts.c.num_gpus * case((seconds > 0, seconds), else_=0)
    query = select(func.coalesce(func.sum(held), 0)).where(which, attempts.c.num_gpus > 0)
    return float(connection.execute(query).scalar_one())
