"""Whose jobs are, and who is told of them."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, or_, select, true

from service.access.caller import Caller, Ownership, Role
from service.store.errors import JobNotFoundError
from service.store.tables import jobs


def ownership(connection: Connection, job_id: str) -> Ownership:
    """Return whose the job is, whatever else is stored of it; raise JobNotFoundError."""
    query = select(jobs.c.owner, jobs.c.private).where(jobs.c.id == job_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise JobNotFoundError(job_id)
    return Ownership(owner=row.owner, private=row.private)


def seen_job(connection: Connection, caller: Caller, job_id: str) -> Ownership:
    """Return whose the job is; raise JobNotFoundError also where the caller is not told of it."""
    found = ownership(connection, job_id)
    if not caller.may_see(found):
        raise JobNotFoundError(job_id)
    return found


def audience(caller: Caller) -> Caller:
    """Return one caller for all who are told of the same jobs; few, to keep statements by."""
    return Caller(owner=caller.owner, role=Role.ADMIN if caller.is_admin else Role.VIEWER)


def visible_to(caller: Caller) -> ColumnElement[bool]:
    """Condition on `jobs` that the caller is told of the job: `Caller.may_see` in SQL."""
    if caller.is_admin:
        return true()
    # Written as no index has it, so that a database goes by what else is asked for.
    is_public = jobs.c.private.is_not(True)
    return is_public if caller.owner is None else or_(is_public, jobs.c.owner == caller.owner)


def sees_all_of(caller: Caller, owner: str) -> bool:
    """Whether the caller is told of whatever job an owner has."""
    return caller.is_admin or caller.owner == owner


def seen_by(connection: Connection, caller: Caller, job_ids: Collection[str]) -> frozenset[str]:
    """Return those of the jobs that there are, and that the caller is told of."""
    query = select(jobs.c.id).where(jobs.c.id.in_(job_ids), visible_to(caller))
    return frozenset(connection.scalars(query))
