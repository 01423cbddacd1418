"""/jobs/{id}/metrics: history by step, down-sampled on read."""

from dataclasses import replace
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from service.api.dependencies import INVALID, Plane, SeenJobId
from service.jobs.history import History, Series
from service.problems import Problem
from service.store.breakdowns import read_breakdowns
from service.store.points import read_history
from service.views.history import MetricHistory
from trainer.contract.bounds import MAX_STEP

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)

_BREAKDOWN = "breakdown"
_SERIES = f"(loss|images_per_second|learning_rate|data_wait_ratio|{_BREAKDOWN})"
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "No such job."}}


@router.get("/{job_id}/metrics", responses=_UNKNOWN)
def job_metrics(
    plane: Plane,
    job_id: SeenJobId,
    *,
    series: Annotated[
        str,
        Query(
            pattern=rf"^{_SERIES}(,{_SERIES})*$",
            max_length=200,
            description="What to show, with commas between: loss, images_per_second, "
            "learning_rate, data_wait_ratio; breakdown: the time of a step by phase, and images/s "
            "by replica.",
        ),
    ] = "loss,images_per_second",
    first: Annotated[
        int, Query(alias="from", ge=0, le=MAX_STEP, description="First step to show.")
    ] = 0,
    last: Annotated[
        int, Query(alias="to", ge=0, le=MAX_STEP, description="Last step to show.")
    ] = MAX_STEP,
    points: Annotated[int, Query(ge=1, le=2000, description="At most so many.")] = 500,
) -> MetricHistory:
    """Read how loss and rates went.

    Where there are more points than were asked for, each stands for those of an equal range of
    steps, with their mean, least and greatest: no extreme is lost. What an attempt did is shown up
    to where a later one began; of a job that ended long ago fewer points are kept.
    """
    asked = dict.fromkeys(series.split(","))
    curves = cast("list[Series]", [name for name in asked if name != _BREAKDOWN])

    def read(connection: Connection) -> History:
        history = read_history(
            connection, job_id, curves, first=first, last=last, max_points=points
        )
        if _BREAKDOWN not in asked:
            return history
        breakdowns = read_breakdowns(connection, job_id, first=first, last=last, at_most=points)
        return replace(history, breakdowns=breakdowns)

    return MetricHistory.model_validate(plane.store.read(read), from_attributes=True)
