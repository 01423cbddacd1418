"""The audit log: who changed what, written in the transaction that changed it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, exists, insert, select

from service.access.audit import Action, AuditEntry
from service.access.caller import Caller
from service.store.tables import audit


def note_audit(
    connection: Connection,
    caller: Caller,
    action: Action,
    target: str | None,
    now: datetime,
    **detail: Any,
) -> None:
    """Write down that the caller did this."""
    connection.execute(
        insert(audit).values(
            at=now,
            actor=caller.owner,
            address=caller.address,
            action=action,
            target=target,
            detail=_detail(caller, detail),
        )
    )


def read_audit(
    connection: Connection,
    *,
    target: str | None = None,
    before_seq: int | None = None,
    limit: int,
) -> list[AuditEntry]:
    """Return what was done, the newest first; `target`: to this alone."""
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if target is not None:
        query = query.where(audit.c.target == target)
    if before_seq is not None:
        query = query.where(audit.c.seq < before_seq)
    return [AuditEntry(**row._mapping) for row in connection.execute(query)]


def was_deleted(connection: Connection, job_id: str) -> bool:
    """Say whether there was such a job in this store, and it was deleted from it."""
    deletion = exists().where(audit.c.target == job_id, audit.c.action == Action.DELETE)
    return bool(connection.execute(select(deletion)).scalar_one())


def _detail(caller: Caller, detail: Mapping[str, Any]) -> dict[str, Any] | None:
    by = {} if caller.token_id is None else {"token": caller.token_id}
    return {**by, **detail} or None
