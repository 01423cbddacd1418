"""What an attempt is told to do, and what it leaves behind when it ends."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from pydantic import Field

from trainer.contract.model import Record
from trainer.contract.spec import JobSpec


class AttemptOrder(Record):
    """Written by whoever starts an attempt, to attempts/NUMBER/order.json, mode 0600."""

    job_id: str
    attempt: int = Field(ge=1)
    spec: JobSpec
    accelerator: Literal["cpu", "gpu"] = Field(description="What `auto` came to.")
    resume_from: str | None = Field(
        description="Checkpoint folder relative to the run directory; None: from the start."
    )
    data_roots: tuple[str, ...] | None = Field(
        default=None, description="What the data must lie below; None: anywhere."
    )
    control_plane_url: str | None = Field(
        default=None, description="Where events go; None: only to the run directory."
    )
    token: str | None = Field(default=None, description="The attempt's own bearer token.")
    fence: int = Field(
        default=0,
        ge=0,
        description="Fence of the leader that wrote this; of an older one than the leader that "
        "began an earlier attempt, it began none.",
    )


class Reason(StrEnum):
    """Why an attempt ended badly. Decides whether another is worth starting."""

    BAD_SPEC = "bad_spec"
    """The spec cannot be trained as it stands."""
    BAD_DATA = "bad_data"
    """A shard or init_from's checkpoint is missing or wrong, too many samples are corrupt, or the
    data were changed."""
    NONFINITE_LOSS = "nonfinite_loss"
    """The loss became infinite or not a number; the same weights would do so again."""
    NO_DEVICE = "no_device"
    """The devices the attempt was promised are not there."""
    NO_STORAGE = "no_storage"
    """The run directory cannot be used: its disk is full, read-only or away, or it is no folder. Or
    the object store that the data are in cannot be read (it is down, this node lacks a driver or
    could not have its credentials), or the node's shard cache cannot be used. Not counted as a
    failure."""
    NO_ACCESS = "no_access"
    """The object store that the data are in does not let this node in: its credentials are wrong or
    expired, or may not read. Tried again as failures are: they may be renewed."""
    OUT_OF_MEMORY = "out_of_memory"
    """A device or a node had not the memory that the attempt asked for."""
    LOST_NODE = "lost_node"
    """A node with a part of the attempt left the cluster."""
    HUNG = "hung"
    """No step was taken for far longer than steps take, or no sign of life was given."""
    CRASHED = "crashed"
    """A process died or an unforeseen error was raised."""
    LOST = "lost"
    """Ray no longer knows the attempt, or never started it."""
    INTERRUPTED = "interrupted"
    """The control plane was stopped, and its local Ray with it; or Ray gave the attempt no devices,
    or was given it twice. Not counted as a failure."""
    STALE = "stale"
    """The attempt found that it is no longer the current one and stopped itself."""
    DEADLINE = "deadline"
    """The job was not done by its deadline."""


class ReasonClass(StrEnum):
    """Whose fault an end is, which decides whether another attempt may mend it."""

    SPEC = "spec"
    """What was asked for."""
    DATA = "data"
    """What was to be trained on."""
    JOB = "job"
    """What the job itself came to."""
    MACHINE = "machine"
    """A device, a node or a process on it."""
    SERVICE = "service"
    """The control plane, or the cluster it starts attempts on."""


CLASSES: Mapping[Reason, ReasonClass] = {
    Reason.BAD_SPEC: ReasonClass.SPEC,
    Reason.BAD_DATA: ReasonClass.DATA,
    Reason.NONFINITE_LOSS: ReasonClass.JOB,
    Reason.DEADLINE: ReasonClass.JOB,
    Reason.NO_DEVICE: ReasonClass.MACHINE,
    Reason.NO_STORAGE: ReasonClass.MACHINE,
    Reason.NO_ACCESS: ReasonClass.MACHINE,
    Reason.OUT_OF_MEMORY: ReasonClass.MACHINE,
    Reason.LOST_NODE: ReasonClass.MACHINE,
    Reason.HUNG: ReasonClass.MACHINE,
    Reason.CRASHED: ReasonClass.MACHINE,
    Reason.LOST: ReasonClass.SERVICE,
    Reason.INTERRUPTED: ReasonClass.SERVICE,
    # Of an attempt that is current after all: it was misled, say by a folder of a later number.
    Reason.STALE: ReasonClass.SERVICE,
}

# Spec, data and job would come to the same again.
RETRYABLE = frozenset(
    reason
    for reason, whose in CLASSES.items()
    if whose in {ReasonClass.MACHINE, ReasonClass.SERVICE}
)


class Outcome(Record):
    """How an attempt ended: attempts/NUMBER/outcome.json, written last, whole or not at all."""

    outcome: Literal["succeeded", "paused", "cancelled", "failed"]
    step: int | None = Field(default=None, description="Steps committed; None if it never started.")
    reason: Reason | None = Field(default=None, description="Set when failed.")
    message: str | None = Field(default=None, description="For people: what, where, what to do.")
