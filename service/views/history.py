"""What the API answers of a job's history by step, as types that the client shares."""

from typing import Literal

from pydantic import Field

from service.jobs.history import Series
from service.views.jobs import View
from trainer.contract.events import Evaluated, SecondsByPhase

AskedSeries = Series | Literal["breakdown"]


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


class MetricBreakdown(View):
    """What consecutive points, or a single one, tell by phase and by replica: their means."""

    first_step: int
    step: int = Field(description="The last; grows from one to the next.")
    epoch: float = Field(description="Epochs done, with fraction, at the last.")
    phase_seconds: SecondsByPhase = Field(
        description="Seconds of a step by phase, of rank 0's host; empty: not told."
    )
    replica_images_per_second: tuple[float, ...] = Field(
        description="Of each replica, by rank, by the time in which it did not wait for the "
        "others; of very many some, ascending. Empty of one replica alone, or not told."
    )


class MetricHistory(View):
    """What the lineage of a job has come through; steps that were done again appear once."""

    points: tuple[MetricPoint, ...] = Field(
        description="In the order of steps. Where there are more than were asked for, each stands "
        "for those of a range of steps, all ranges being equal."
    )
    evaluations: tuple[Evaluated, ...] = Field(description="All of them, in the order of steps.")
    breakdowns: tuple[MetricBreakdown, ...] = Field(
        default=(),
        description="In the order of steps, where `breakdown` is asked for. Of a job that has told "
        "very often one point of each of equal ranges of steps stands for the others.",
    )
