"""/quotas and /usage: what owners may have, and have."""

from dataclasses import asdict, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from sqlalchemy import Connection

from service.access.caller import Caller
from service.access.disk import DiskMeter
from service.access.quotas import Quota
from service.api.dependencies import INVALID, Admin, Leader, Plane, Viewer
from service.steady_clock import now_utc
from service.store.quotas import jobs_of, owners, quota_of, set_quota, usage_of
from service.views.access import Owner, OwnerUsage, QuotaView, UsageList

router = APIRouter(tags=["access"], responses=INVALID)

OwnerName = Annotated[Owner, Path()]


async def _meter(request: Request) -> DiskMeter:
    meter = request.app.state.disk_meter
    assert isinstance(meter, DiskMeter)
    return meter


Meter = Annotated[DiskMeter, Depends(_meter)]


@router.get("/quotas/{owner}")
def get_quota(plane: Plane, _caller: Admin, owner: OwnerName) -> QuotaView:
    """Read what an owner may have."""
    quota = plane.store.read(lambda connection: quota_of(connection, owner))
    return QuotaView(**asdict(quota))


@router.put("/quotas/{owner}")
def put_quota(plane: Leader, caller: Admin, owner: OwnerName, request: QuotaView) -> QuotaView:
    """Say what an owner may have: all of it, and what is left out has no limit."""
    quota = Quota(**request.model_dump())
    plane.store.write(lambda connection: set_quota(connection, owner, quota, caller, now_utc()))
    plane.wake()
    return request


@router.get("/usage")
def get_usage(plane: Plane, caller: Viewer, meter: Meter) -> UsageList:
    """Read what owners have: admins of all, others their own."""
    usage, ids = plane.store.read(lambda connection: _usage(connection, caller))
    return UsageList(
        usage=tuple(
            one.model_copy(update={"disk_bytes": meter.size_bytes(ids[one.owner])}) for one in usage
        )
    )


def _usage(connection: Connection, caller: Caller) -> tuple[list[OwnerUsage], dict[str, list[str]]]:
    asked = owners(connection) if caller.is_admin else [caller.owner or ""]
    now = now_utc()
    usage = []
    for owner in asked:
        found = replace(usage_of(connection, owner, now), disk_bytes=0)
        quota = QuotaView(**asdict(quota_of(connection, owner)))
        usage.append(OwnerUsage(owner=owner, quota=quota, **asdict(found)))
    return usage, {owner: jobs_of(connection, owner) for owner in asked}
