"""The order of the queue: priorities that grow with the wait, as pure functions."""

from dataclasses import dataclass

from service.scheduling.placement import Demand


@dataclass(frozen=True, kw_only=True)
class QueuePolicy:
    """What an operator decides of the queue."""

    ageing_s: float = 3600.0
    """A job that has waited so long counts as one of the next higher priority."""
    max_active_jobs: int | None = 100
    """Jobs with an attempt at once: each has a driver, whose process is Ray's."""
    max_active_jobs_per_owner: int | None = None
    """Of each owner whose quota says nothing else."""
    preemption: bool = False
    """Whether a job of higher priority may have lower ones wait."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What decides when a job's turn comes. Times are seconds of one clock."""

    priority: int
    since: float
    """When it began to wait, or would."""
    waited_s: float
    """Before that: what it has waited in its life, for which it is not made to wait again."""
    seq: int
    """Order of arrival."""

    def effective_priority(self, now: float, ageing_s: float) -> float:
        """Return its priority, grown by one for each `ageing_s` that it has waited."""
        return self.priority + (max(now - self.since, 0.0) + self.waited_s) / ageing_s

    def key(self, ageing_s: float) -> tuple[float, int]:
        """Return what the queue is sorted by: the effective priority, the highest first.

        As all age at one pace the order between two never changes while they wait, and `now` is
        not asked for: p + (now - since + waited) / a falls as since - waited - p * a grows. So who
        comes later is in front only if it comes within `ageing_s` for each step of priority that
        it has more.
        """
        return self.since - self.waited_s - self.priority * ageing_s, self.seq


@dataclass(frozen=True, kw_only=True)
class WaitingJob:
    """A job that may begin an attempt."""

    id: str
    owner: str | None
    demand: Demand
    turn: Turn


@dataclass(frozen=True, kw_only=True)
class ActiveJob:
    """A job with an attempt that has not ended."""

    id: str
    owner: str | None
    demand: Demand
    turn: Turn
    """As it would be if it were queued now."""
    submission_id: str
    """The attempt's name, under which the cluster tells what it holds."""
    is_leaving: bool
    """Whether it was told to end: paused, cancelled, or to make room."""
    runs_since: float | None
    """Since when it does steps; None: it does not yet."""


def in_order(waiting: list[WaitingJob], policy: QueuePolicy) -> list[WaitingJob]:
    """Return the queue: the highest effective priority first, of equal ones the oldest."""
    return sorted(waiting, key=lambda job: job.turn.key(policy.ageing_s))
