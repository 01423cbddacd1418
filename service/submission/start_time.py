"""When a job would start, as a time: from the ends of the jobs before it. Pure."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from service.jobs.lifecycle import DEADLINE_GRACE, is_past_deadline
from service.jobs.records import JobRecord
from service.scheduling.forecast import MAX_JOBS, Course, Forecast, forecast
from service.scheduling.queue import ActiveJob, QueuePolicy, WaitingJob
from service.scheduling.room import Cluster
from service.views.plans import StartEstimate
from trainer.contract.status import Desired

_AS_IF = (
    "as if nothing else were submitted, no attempt failed, and to begin one took no time; on "
    "several nodes, as if jobs filled one after another"
)


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

    A time is given only where it is the same however long those take of which that is not known:
    it is looked at if they end now, and if they run on.
    """
    if len(courses) > MAX_JOBS:
        return not_estimated(f"more than {MAX_JOBS:,} jobs run or wait: so much is not foreseen")
    num_unknown = sum(one.work_s is None for one in courses if one.job.id != job_id)

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

    last = run(math.inf)
    first = run(0.0) if num_unknown else last
    is_same = last.starts_at == first.starts_at and not last.num_unknown_ended
    if last.starts_at is not None and is_same:
        return _known(last, last.starts_at, now)
    if first.starts_at is None:
        return not_estimated(f"not foreseen: {first.why}{_others(courses, cluster)}")
    return StartEstimate(
        at=None,
        in_s=None,
        earliest_at=_time(first.starts_at),
        latest_at=None if last.starts_at is None else _time(last.starts_at),
        basis=f"it is not known how long {num_unknown:,} of the jobs before or beside it take: the "
        f"earliest is if they ended now, the latest if they ran on to their deadlines; {_AS_IF}",
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
