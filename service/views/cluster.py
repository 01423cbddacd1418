"""What the API answers of the cluster and the queue, as types that the client shares."""

from datetime import datetime

from pydantic import Field

from service.views.jobs import View
from trainer.contract.status import Status


class HeldView(View):
    """What one holder has of a node."""

    holder: str = Field(
        description="A submission, ours being JOB-ATTEMPT, or Ray's number of a job; `in use` for "
        "whoever is neither an admin nor may see that job."
    )
    num_cpus: float
    num_gpus: float


class NodeView(View):
    """A node that lives."""

    id: str
    num_cpus: float
    num_gpus: float
    gpu_type: str | None = Field(
        default=None, description="Ray's name of its GPUs; null: it has none, or that is not told."
    )
    memory_bytes: int | None = Field(
        default=None,
        description="What Ray gives to processes, its object store not counted; null: not told.",
    )
    free_cpus: float
    free_gpus: float
    held: tuple[HeldView, ...]


class QueuedView(View):
    """A job in the queue."""

    place: int = Field(description="Counts from 1.")
    job_id: str | None = Field(description="Null: another's private job.")
    status: Status
    priority: int = Field(description="As its spec gives it.")
    effective_priority: float = Field(description="With what it has grown by waiting.")
    since: datetime = Field(description="When it began to wait.")
    message: str | None = Field(description="For people: why it waits.")


class ClusterView(View):
    """The cluster as it was seen some seconds ago at most, and who waits for it."""

    ray_address: str | None = Field(
        description="Ray's dashboard; null while there is none, and for whoever is no admin."
    )
    trouble: str | None = Field(
        description="Why the nodes are not known, to an admin in full; null: they are."
    )
    nodes: tuple[NodeView, ...]
    num_waiting: int
    queue: tuple[QueuedView, ...] = Field(description="In order: the first of those who wait.")
