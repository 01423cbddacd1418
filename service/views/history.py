"""What the API answers of a job's history by step, as types that the client shares."""

from pydantic import Field

from service.jobs.history import Series
from service.views.jobs import View
from trainer.contract.events import Evaluated


class SeriesSpread(View):
    """What a series came to over the points that are shown as one."""

    mean: float
    min: float
    max: float


class MetricPoint(View):
    """Consecutive points, or a single one, as one."""

    first_step: int
    step: int = Field(description="The last; grows from point to point.")
    epoch: float = Field(description="Epochs done, with fraction, at the last.")
    num_points: int = Field(description="How many it stands for.")
    values: dict[Series, SeriesSpread]


class MetricHistory(View):
    """What the lineage of a job has come through; steps that were done again appear once."""

    points: tuple[MetricPoint, ...] = Field(
        description="In the order of steps. Where there are more than were asked for, each stands "
        "for those of a range of steps, all ranges being equal."
    )
    evaluations: tuple[Evaluated, ...] = Field(description="All of them, in the order of steps.")
