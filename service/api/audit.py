"""/audit: who changed what."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.dependencies import INVALID, MAX_INTEGER, Admin, Plane
from service.store.audit import read_audit
from service.views.access import AuditPage, AuditRecord

router = APIRouter(prefix="/audit", tags=["access"], responses=INVALID)


@router.get("")
def get_audit(
    plane: Plane,
    _caller: Admin,
    *,
    target: Annotated[
        str | None, Query(max_length=64, description="Id of a job or token, or an owner.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[
        int | None, Query(ge=1, le=MAX_INTEGER, description="`next_cursor` of the page before.")
    ] = None,
) -> AuditPage:
    """List what was done, the newest first."""
    found = plane.store.read(
        lambda connection: read_audit(connection, target=target, before_seq=cursor, limit=limit + 1)
    )
    page = found[:limit]
    return AuditPage(
        entries=tuple(AuditRecord.model_validate(one, from_attributes=True) for one in page),
        next_cursor=str(page[-1].seq) if len(found) > limit else None,
    )
