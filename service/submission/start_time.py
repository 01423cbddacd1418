"""When a job would start, as a time: from the ends of the jobs before it. Pure."""

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from service.jobs.lifecycle import DEADLINE_GRACE, is_past_deadline
from service.jobs.records import JobRecord
from service.scheduling.admission import num_bundles_missing
from service.scheduling.forecast import Course, Forecast, forecast
from service.scheduling.queue import ActiveJob, QueuePolicy, WaitingJob
from service.scheduling.room import Cluster
from service.views.plans import StartEstimate
from trainer.contract.status import Desired

_AS_IF = (
    "as if nothing else were submitted or resumed, no attempt failed, quotas stayed as they are, "
    "and to begin and to make room took no time; on several nodes, as if jobs filled one after "
    "another"
)
# Forecasts are the interpreter's work: several at once would leave little of it to all else.
_ONE_AT_A_TIME = threading.Lock()


def not_estimated(why: str) -> StartEstimate:
    """Return that nothing is foreseen, and why."""
    return StartEstimate(at=None, in_s=None, basis=why)


def course_of(
    job: JobRecord, scheduled: ActiveJob | WaitingJob, work_s: float | None, now: datetime
) -> Course:
    """Return how a job that lives goes on. `work_s`: what it has left to do; None: not known."""
    deadline_s, grace = job.spec.retry.deadline_s, timedelta(0)
    if isinstance(scheduled, ActiveJob):
        grace = DEADLINE_GRACE
    return Course(
        job=scheduled,
        work_s=work_s,
        ends_by=math.inf
        if deadline_s is None
        else (job.created_at + timedelta(seconds=deadline_s) + grace).timestamp(),
        comes_back=job.desired is Desired.RUN and not is_past_deadline(job, now),
        # Training alone goes on at a checkpoint.
        begins_again=job.spec.kind != "train",
    )


def estimate_start(
    job_id: str,
    courses: Sequence[Course],
    cluster: Cluster,
    policy: QueuePolicy,
    *,
    limits: Mapping[str, int],
    now: datetime,
) -> StartEstimate:
    """Say when one of the jobs would start; the arguments are those of `forecast`.

    A time is given only where it is the same however long those take of which that is not known.
    Bounds, if they end now and if they run on, are given only where nobody begins the sooner for
    it that another takes longer.
    """

    def run(unknown_s: float) -> Forecast:
        return forecast(
            job_id,
            courses,
            cluster,
            policy,
            limits=limits,
            now=now.timestamp(),
            unknown_s=unknown_s,
        )

    with _ONE_AT_A_TIME:
        last = run(math.inf)
        is_bounded = last.num_unknown > 0 and _is_one_line(courses, cluster, policy, limits, now)
        first = run(0.0) if is_bounded else last
    whose = f"it is not known how long {last.num_unknown:,} of the jobs before or beside it take"
    if last.num_unknown and not is_bounded:
        return not_estimated(
            f"not foreseen: {whose}; on several nodes, with limits of owners, preemption or "
            "attempts that come later, the start may depend on it in either direction"
        )
    if last.starts_at is not None and last.starts_at == first.starts_at:
        return _known(last, last.starts_at, now)
    if first.starts_at is None:
        return not_estimated(f"not foreseen: {first.why}{_others(courses, cluster)}")
    return StartEstimate(
        at=None,
        in_s=None,
        earliest_at=_time(first.starts_at),
        latest_at=None if last.starts_at is None else _time(last.starts_at),
        basis=f"{whose}: the earliest is if they ended now, the latest if they ran on to their "
        f"deadlines; {_AS_IF}",
    )


def _is_one_line(
    courses: Sequence[Course],
    cluster: Cluster,
    policy: QueuePolicy,
    limits: Mapping[str, int],
    now: datetime,
) -> bool:
    """Whether all begin in one order, each as soon as one node has room.

    Then whoever takes longer has nobody begin sooner. It is not so where some pass others or go
    back, or where it matters on which node one lies.
    """
    owners = Counter(one.job.owner for one in courses)
    default = policy.max_active_jobs_per_owner
    most = {owner: limits.get(owner, default) for owner in owners if owner is not None}
    held = cluster.by_holder()
    return (
        len(cluster.nodes) == 1
        and not policy.preemption
        and all(limit is None or owners[owner] <= limit for owner, limit in most.items())
        and all(
            job.turn.since <= now.timestamp()
            if isinstance(job, WaitingJob)
            else job.is_leaving or not num_bundles_missing(job, held.get(job.submission_id, ()))
            for job in (one.job for one in courses)
        )
    )


def _known(seen: Forecast, starts_at: float, now: datetime) -> StartEstimate:
    before = "nothing has to end before"
    if seen.num_ended:
        before = f"{_jobs(seen.num_ended)} before it, by their rates and plans"
    at = max(_time(starts_at), now)
    return StartEstimate(at=at, in_s=(at - now).total_seconds(), basis=f"{before}; {_AS_IF}")


def _others(courses: Sequence[Course], cluster: Cluster) -> str:
    ours = {one.job.submission_id for one in courses if isinstance(one.job, ActiveJob)}
    if all(one.holder in ours for one in cluster.holdings):
        return ""
    return "; when others on the cluster give back what they hold is not known"


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number:,} jobs"


def _time(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
