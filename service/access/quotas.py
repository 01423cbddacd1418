"""What each owner may have of the service, and has. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What an owner may have; None: as much as there is."""

    max_active_jobs: int | None = None
    """Jobs that hold devices at once; what is beyond waits in the queue."""
    max_queued_jobs: int | None = None
    """Jobs that wait; what is beyond is refused."""
    gpu_hours: float | None = None
    """All in all, until an admin raises it."""
    disk_bytes: int | None = None
    """In run directories."""


UNLIMITED = Quota()


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What an owner has."""

    active_jobs: int = 0
    queued_jobs: int = 0
    """Jobs that wait to begin an attempt."""
    gpu_hours: float = 0.0
    """Of every attempt there ever was, those of deleted jobs too."""
    disk_bytes: int | None = None
    """None: not measured."""


class QuotaExceededError(Exception):
    """An owner would have more than they may; the message names the quota and what to do."""

    def __init__(self, message: str, *, passes: bool) -> None:
        super().__init__(message)
        self.passes = passes
        """Whether it is so only for a while."""


def check_submission(owner: str, quota: Quota, usage: Usage) -> None:
    """Raise QuotaExceededError where the owner may submit no further job."""
    if quota.max_queued_jobs is not None and usage.queued_jobs >= quota.max_queued_jobs:
        raise QuotaExceededError(
            f"quota max_queued_jobs of {owner}: {usage.queued_jobs} jobs wait, and "
            f"{quota.max_queued_jobs} may; submit this when one has started, or cancel one",
            passes=True,
        )
    if is_gpu_time_spent(quota, usage.gpu_hours):
        raise QuotaExceededError(
            f"quota gpu_hours of {owner}: {usage.gpu_hours:.1f} are spent of "
            f"{quota.gpu_hours:g}; ask an admin for more",
            passes=False,
        )
    if quota.disk_bytes is not None and (usage.disk_bytes or 0) >= quota.disk_bytes:
        raise QuotaExceededError(
            f"quota disk_bytes of {owner}: run directories hold {usage.disk_bytes or 0:,} bytes of "
            f"{quota.disk_bytes:,}; delete jobs with `alexnet delete`, or ask an admin for more",
            passes=False,
        )


def is_gpu_time_spent(quota: Quota, gpu_hours: float) -> bool:
    """Whether an owner's jobs begin no further attempt."""
    return quota.gpu_hours is not None and gpu_hours >= quota.gpu_hours
