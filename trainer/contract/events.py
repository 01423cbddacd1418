"""What an attempt tells the control plane: numbered events, and the reply to them.

In a job that evaluates, a step is a batch of the validation set, and the epoch is its one pass.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from trainer.contract.bounds import Count, Moment, Step
from trainer.contract.model import Record
from trainer.contract.spec import Protocol
from trainer.contract.status import Desired

Ratio = Annotated[float, Field(ge=0, le=1)]
# Of data_shards.feeding.corrupt.CorruptReason: few, for a metric has a series for each.
CorruptReasonName = Literal[
    "not_an_image",
    "broken",
    "wrong_size",
    "too_many_pixels",
    "too_many_bytes",
    "unknown_white",
]
CountsByReason = dict[CorruptReasonName, Annotated[Count, Field(ge=1)]]
# What an attempt spends its time on; few, for a metric has a series for each. On a GPU: of the time
# in which the host queues a step or waits for its loss, each has the share that the GPU gave it.
Phase = Literal[
    "data_wait",  # waiting for a batch
    "transfer",  # copies to the device; mean image, colours and layout there
    "forward",  # in an evaluation, all of a step but its sums
    "exchange",  # between the towers in the forward pass, as far as it is waited for
    "backward",  # the exchange's way back with it
    "all_reduce",  # waiting for the replicas' sums, beyond what the backward pass hides
    "optimizer",
    "checkpoint",  # as long as training stands for it; writing goes on beside training
    "evaluation",
    "compute",  # forward, exchange and backward in one, where nothing tells them apart
    "other",  # ledger, events, decisions
]
# What phases were called before release 0.2.
_RENAMED = {"prepare": "transfer", "update": "optimizer"}


def _by_present_names(phases: object) -> object:
    if not isinstance(phases, dict):
        return phases
    return {_RENAMED.get(phase, phase): seconds for phase, seconds in phases.items()}


SecondsByPhase = Annotated[
    dict[Phase, Annotated[float, Field(ge=0)]], BeforeValidator(_by_present_names)
]


# More are no lines that anybody tells apart: a median and two extremes are as good of these.
MAX_REPLICAS_TOLD = 64


class Started(Record):
    """The workers stand and the first step is about to be taken."""

    kind: Literal["started"] = "started"
    start_step: Step = Field(description="Steps already committed by the lineage.")
    planned_steps: Count = Field(description="Steps of the whole job; of a calibration, at most.")
    steps_per_epoch: Count
    worker_pids: tuple[Count, ...] = Field(description="Process of each replica, by rank.")
    devices: tuple[str, ...] = Field(description="Devices of rank 0's towers.")
    gpu_ids: tuple[tuple[str, ...], ...] = Field(
        default=(), description="GPUs the cluster gave each replica, by rank; none on cpu."
    )
    inexact: tuple[str, ...] = Field(
        default=(),
        description="Why the weights will not be bit-identical to those of an undisturbed run: "
        "what changed at this resume and at those before it, each once; empty: they will be.",
    )


class Progress(Record):
    """Where the job stands. Rates are means since the previous progress event."""

    kind: Literal["progress"] = "progress"
    step: Step = Field(description="Steps done, of the whole job.")
    epoch: float = Field(description="Epochs done, with fraction.")
    planned_steps: Count = Field(description="In a calibration, as foreseen by now.")
    loss: float = Field(description="Mean cross-entropy of the samples since the last event, nats.")
    learning_rate: float = Field(description="0 in an evaluation, which learns nothing.")
    images_per_second: float = Field(description="Over all replicas.")
    data_wait_ratio: Ratio = Field(description="Share of rank 0's time spent waiting for batches.")
    phase_seconds: SecondsByPhase = Field(
        default_factory=dict,
        description="Mean seconds of a step by phase, of rank 0's host; together its wall time "
        "since the last event. A GPU is not waited for to tell its phases apart. Empty in events "
        "of release 0.1.",
    )
    replica_images_per_second: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        default=(),
        max_length=MAX_REPLICAS_TOLD,
        description="Of each replica, by rank: its own images by the time in which it did not wait "
        f"for the others. Of more than {MAX_REPLICAS_TOLD} so many of these rates, ascending and "
        "evenly spread, the least and the greatest among them. Empty of one replica alone, before "
        "all have told, in an evaluation, and in events of release 0.1.",
    )


class Evaluated(Record):
    """A pass over the validation set."""

    kind: Literal["evaluated"] = "evaluated"
    step: Step
    epoch: float
    num_samples: Count
    loss: float
    top1: Ratio = Field(description="Share right at the first guess.")
    top5: Ratio = Field(description="Share right within five guesses.")
    protocol: Protocol = "centre_crop"
    seconds: float | None = Field(
        default=None, ge=0, description="That it took; None in events of release 0.1."
    )


class CheckpointSaved(Record):
    """A checkpoint is complete under its final name."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: Step
    epoch: float
    path: str = Field(description="Folder, relative to the run directory.")
    size_bytes: Count
    weights_sha256: str = Field(description="Of model.safetensors.")
    top1: Ratio | None = Field(description="Of the latest evaluation; None before the first.")


class SamplesSkipped(Record):
    """Samples could not be read, and weigh zero whenever met; each is told of once an attempt."""

    kind: Literal["samples_skipped"] = "samples_skipped"
    step: Step
    samples: tuple[str, ...] = Field(description="SHARD:KEY of each, at most 20 an event.")
    reason: str = Field(description="What is wrong with the first of them, in words.")
    by_reason: CountsByReason = Field(
        default_factory=dict,
        description="How many of those that this event tells of there are of each kind; empty in "
        "events of release 0.1.",
    )
    total: Count = Field(description="Distinct samples skipped so far in this attempt.")

    def in_words(self) -> str:
        """Return a line for people: the names, and what is wrong with them."""
        num_unnamed = sum(self.by_reason.values()) - len(self.samples)
        names = ", ".join(self.samples) + (f" and {num_unnamed} more" if num_unnamed > 0 else "")
        if len(self.by_reason) < 2:
            return f"skipped {names}: {self.reason}"
        return f"skipped {names}: {in_words(self.by_reason)}; the first: {self.reason}"


class Finished(Record):
    """The attempt is over in good order."""

    kind: Literal["finished"] = "finished"
    outcome: Literal["succeeded", "paused", "cancelled"]
    step: Step


AttemptEventData = Annotated[
    Started | Progress | Evaluated | CheckpointSaved | SamplesSkipped | Finished,
    Field(discriminator="kind"),
]


class AttemptEvent(Record):
    """One numbered event; numbers start at 1 and have no gaps within an attempt."""

    number: int = Field(ge=1, le=2**31 - 1)
    at: Moment = Field(description="UTC, from the attempt's clock.")
    data: AttemptEventData


class EventBatch(Record):
    """Body of POST /jobs/{job_id}/attempts/{attempt}/events."""

    events: tuple[AttemptEvent, ...] = Field(max_length=500)


class EventReply(Record):
    """What the control plane answers: how far it has stored, and what is wanted."""

    stored_through: int = Field(description="Highest number stored without a gap before it.")
    desired: Desired


def in_words(counts: Mapping[CorruptReasonName, int]) -> str:
    """Return counts by reason, most first: 3 broken, 1 not an image."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in ordered)
