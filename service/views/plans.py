"""What is foreseen of a job, as types that the client shares."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer.contract.spec import JobSpec
from trainer.contract.status import Status

Basis = Literal["counted", "assumed", "measured"]


class PlanView(BaseModel):
    """Frozen; a newer server may say more than this release knows."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class MemoryPart(PlanView):
    """One of the things that a device holds while it trains."""

    name: str
    size_bytes: int
    formula: str = Field(description="How the bytes follow from the spec.")
    basis: Basis = Field(
        description="counted: exact by shapes; assumed: what torch keeps may differ."
    )


class PlannedDevice(PlanView):
    """Memory of one device of a replica; torch itself and its workspaces come on top."""

    number: int
    parts: tuple[MemoryPart, ...]
    total_bytes: int
    capacity_bytes: int | None = Field(
        default=None,
        description="Of the smallest device, or on cpu of the node, that it may come to lie on; "
        "null: not known.",
    )
    fits: bool | None = Field(
        default=None,
        description="Whether all that it may come to lie on have room for that, on cpu for all "
        "replicas of the node; false: none has; null: not known, some have, or so close that torch "
        "decides.",
    )
    capacity_basis: str = Field(
        default="", description="What the capacity is from, or why there is none."
    )


class PlannedNetwork(PlanView):
    """The network of a job that trains."""

    parameters: int
    multiply_adds_per_image: int = Field(description="Forward.")
    exchanged_bytes_per_image: int = Field(description="Between the towers, forward.")
    micro_batch_size: int
    devices: tuple[PlannedDevice, ...]


class CheckedShards(PlanView):
    """The shards of one split, and how far they were looked at."""

    split: str
    location: str
    num_shards: int
    num_samples: int
    size_bytes: int
    how: str = Field(description="What was compared with the manifest.")
    num_wrong: int = Field(description="Shards that are missing or of another size.")
    wrong: tuple[str, ...] = Field(description="The first of them, each with what is wrong.")


class PlannedEvaluations(PlanView):
    """The passes over the validation set that training makes."""

    num_passes: int = Field(description="By the centre crop: after each epoch and the last step.")
    num_final_passes: int = Field(description="By another protocol, at the end.")
    images_per_pass: int
    duration_s: float | None = Field(description="Of all of them; null: not known.")
    basis: str = Field(description="Where the figure is from, or why there is none.")


class PlannedSpeed(PlanView):
    """How fast the job is expected to train, and how long it takes."""

    images_per_second: float | None = Field(
        description="Of training, over all replicas; null: not known."
    )
    duration_s: float | None = Field(
        description="Of training and evaluations, once it has its devices; in plans of release "
        "0.1, which have no `training_s`, of training alone."
    )
    training_s: float | None = Field(
        default=None, description="Of training alone: images over images_per_second."
    )
    evaluations: PlannedEvaluations | None = Field(
        default=None, description="Null: it is no training job."
    )
    like_job: str | None = Field(
        description="The finished job, or calibration, that it is taken from."
    )
    basis: str = Field(description="Where the figure is from, or why there is none.")


class JobAhead(PlanView):
    """A job that runs or goes first."""

    id: str | None = Field(description="Null: it is private, and who sees this may not see it.")
    status: Status
    seconds_left: float | None = Field(
        description="Of work, by its present rate or else by its plan; null: not known, it leaves "
        "before, or it is private."
    )


class StartEstimate(PlanView):
    """When a job would start, by the queue's own decision run forward.

    As if nothing else were submitted and no attempt failed.
    """

    at: datetime | None = Field(
        description="UTC; null: not known, or it depends on jobs whose end is not known."
    )
    in_s: float | None = Field(description="Seconds from now to `at`.")
    earliest_at: datetime | None = Field(
        default=None,
        description="Where it depends on jobs whose end is not known, and is sure not to be before "
        "this: if all of them ended now.",
    )
    latest_at: datetime | None = Field(
        default=None,
        description="Where it depends on those: if they ran on, to their deadlines where they "
        "have any; null: not known, or it would not start.",
    )
    basis: str = Field(description="What the time is from, or why there is none.")


class PlannedStart(PlanView):
    """Whether the job fits into the cluster as it is now."""

    when: Literal["now", "waits", "never", "unknown"]
    message: str = Field(description="For people: why.")
    accelerator: Literal["cpu", "gpu"] | None = Field(description="What `auto` comes to.")
    ahead: tuple[JobAhead, ...] = Field(
        default=(), description="The first of the jobs that run or go first."
    )
    num_ahead: int = Field(
        default=0, description="How many run or go first; 0 in plans of before it was counted."
    )
    estimate: StartEstimate | None = Field(
        default=None,
        description="When it would start; null of a plan that is kept with a job: it was of then.",
    )


class Plan(PlanView):
    """What is foreseen of a job."""

    steps: int = Field(
        description="Of the whole job; in an evaluation, batches; in a calibration, at most."
    )
    steps_per_epoch: int
    epochs: float
    num_samples: int = Field(description="Of the training set; in an evaluation, validation.")
    network: PlannedNetwork | None = Field(
        description="Null of an evaluation: it is that of its checkpoints."
    )
    shards: tuple[CheckedShards, ...]
    speed: PlannedSpeed
    start: PlannedStart


class PlannedJob(PlanView):
    """The answer of `POST /jobs/plan`: nothing is stored."""

    spec: JobSpec = Field(description="Whole, with the preset expanded and true paths.")
    plan: Plan
