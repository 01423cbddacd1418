"""What webhooks can be told of, by name: every event of a job."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Happening(StrEnum):
    """Something that happens to a job: it comes to a status, or another of its events."""

    QUEUED = "job.queued"
    STARTING = "job.starting"
    RUNNING = "job.running"
    PAUSING = "job.pausing"
    PAUSED = "job.paused"
    RETRYING = "job.retrying"
    CANCELLING = "job.cancelling"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    RESIZED = "job.resized"
    EDITED = "job.edited"
    STARTED = "job.started"
    EVALUATED = "job.evaluated"
    CHECKPOINT = "job.checkpoint"
    SAMPLES_SKIPPED = "job.samples_skipped"
    FINISHED = "job.finished"
    """An attempt has said that it is done; SUCCEEDED follows."""


# What a webhook is told of where nothing else was chosen: a job has ended.
ENDED = (Happening.SUCCEEDED, Happening.FAILED, Happening.CANCELLED)


def happening_of(event: Mapping[str, Any]) -> Happening | None:
    """Name an event, as `JobEventData` is stored; None: progress, which is far too often."""
    kind = event["kind"]
    if kind == "status":
        return Happening(f"job.{event['after'].lower()}")
    return None if kind == "progress" else Happening(f"job.{kind}")
