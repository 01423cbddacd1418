"""What happens to a job, as the event stream tells it: the attempt's events and our own."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.contract.attempt import Reason
from trainer.contract.events import (
    CheckpointSaved,
    Evaluated,
    Finished,
    Progress,
    SamplesSkipped,
    Started,
)
from trainer.contract.model import Record
from trainer.contract.status import Status


class StatusChanged(Record):
    """The job passed from one status to another."""

    kind: Literal["status"] = "status"
    before: Status | None = Field(description="None when the job was accepted.")
    after: Status
    reason: Reason | None = None
    message: str | None = Field(default=None, description="For people.")


class Resized(Record):
    """The job goes on with other replicas, from its checkpoint and over the same data."""

    kind: Literal["resized"] = "resized"
    before: int = Field(description="Replicas, as in scale.replicas.")
    after: int


class Edited(Record):
    """Another priority or other labels were given to the job."""

    kind: Literal["edited"] = "edited"
    priority: int | None = Field(default=None, description="From now on; null: as it was.")
    labels: dict[str, str | None] = Field(
        default_factory=dict, description="Those that have changed; null: removed."
    )


JobEventData = Annotated[
    StatusChanged
    | Resized
    | Edited
    | Started
    | Progress
    | Evaluated
    | CheckpointSaved
    | SamplesSkipped
    | Finished,
    Field(discriminator="kind"),
]
