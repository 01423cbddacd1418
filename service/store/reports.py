"""What attempts report: stored for all who wait at once, by a few statements for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from service.jobs.records import what_is_told
from service.store.advances import store_advances
from service.store.changes import ingest, point_of
from service.store.errors import JobNotFoundError, StaleAttemptError, UnreadableJobError
from service.store.tables import attempts, jobs
from trainer.contract.events import AttemptEvent, Progress
from trainer.contract.status import Desired, Status

# Each is made once: that takes longer than to run it.
_LOCKED = (
    select(jobs.c.id, jobs.c.attempt, jobs.c.status, jobs.c.desired, jobs.c.preempted_by)
    .where(jobs.c.id.in_(bindparam("ids", expanding=True)))
    # In one order, so that of two processes neither waits for the other. Rows may refer to these.
    .order_by(jobs.c.id)
    .with_for_update(key_share=True)
)
# By a statement of its own: what another has just written of an attempt is seen behind the lock.
_CURRENT = (
    select(attempts.c.job_id, attempts.c.events_through)
    .join(jobs, (jobs.c.id == attempts.c.job_id) & (jobs.c.attempt == attempts.c.number))
    .where(jobs.c.id.in_(bindparam("ids", expanding=True)), attempts.c.ended_at.is_(None))
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an attempt tells at once."""

    job_id: str
    attempt: int
    events: Sequence[AttemptEvent]
    at: datetime
    """By which the job advances."""
    size_bytes: int = 0
    """Of the body that it came in; 0: it came in none."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What came of a report."""

    stored_before: int
    """Highest number that was stored before it."""
    stored_through: int
    """Highest number that is stored now."""
    status: Status
    """Of the job."""
    told: Desired
    """What the attempt is to do."""


class _New:
    """What is new of a job's attempt, from one report or several."""

    def __init__(self, attempt: int, at: datetime) -> None:
        self.attempt = attempt
        self.advanced_at = at
        self.events: list[AttemptEvent] = []
        self.progress: list[tuple[datetime, Progress]] = []

    def add(self, following: Sequence[AttemptEvent], at: datetime) -> None:
        progress = [(one.at, one.data) for one in following if isinstance(one.data, Progress)]
        self.events += following
        self.progress += progress
        if progress:
            self.advanced_at = at


def store_reports(
    connection: Connection, reports: Sequence[Report]
) -> list[Taken | StaleAttemptError | JobNotFoundError | UnreadableJobError]:
    """Store of each report what follows without a gap on what is stored, one after the other.

    Returns what came of each: one that is refused keeps no other from being stored. Locks the jobs.
    """
    ids = sorted({report.job_id for report in reports})
    locked: dict[str, Any] = {row.id: row for row in connection.execute(_LOCKED, {"ids": ids})}
    through = {row.job_id: row.events_through for row in connection.execute(_CURRENT, {"ids": ids})}
    outcomes: list[Taken | StaleAttemptError | JobNotFoundError | UnreadableJobError] = []
    new: dict[str, _New] = {}
    for report in reports:
        job_id = report.job_id
        try:
            status, told = _standing(report, locked.get(job_id), has_not_ended=job_id in through)
        except (JobNotFoundError, StaleAttemptError, UnreadableJobError) as refused:
            outcomes.append(refused)
            continue
        before = through[job_id]
        following = what_follows(report.events, before)
        if following:
            new.setdefault(job_id, _New(report.attempt, report.at)).add(following, report.at)
            through[job_id] += len(following)
        outcomes.append(
            Taken(stored_before=before, stored_through=through[job_id], status=status, told=told)
        )
    if new:
        _store(connection, new, through)
    return outcomes


def what_follows(reported: Sequence[AttemptEvent], through: int) -> list[AttemptEvent]:
    """Return, in order, the events that follow on number `through` without a gap, each once. Pure.

    Of several with one number the first that was reported.
    """
    found: list[AttemptEvent] = []
    for one in sorted(reported, key=lambda event: event.number):
        if one.number == through + len(found) + 1:
            found.append(one)
    return found


def _standing(report: Report, row: Any, *, has_not_ended: bool) -> tuple[Status, Desired]:
    """Return the job's status and what its attempt is to do, or raise why nothing is taken."""
    if row is None:
        raise JobNotFoundError(report.job_id)
    if report.attempt != row.attempt or not has_not_ended:
        raise StaleAttemptError(report.job_id, report.attempt)
    try:
        status, desired = Status(row.status), Desired(row.desired)
    except ValueError as error:
        raise UnreadableJobError(report.job_id, str(error)) from error
    return status, what_is_told(desired, status, makes_room=row.preempted_by is not None)


def _store(connection: Connection, new: Mapping[str, _New], through: Mapping[str, int]) -> None:
    """Add what is new of each job; of progress alone there is by far the most."""
    found: list[dict[str, Any]] = []
    advanced: list[dict[str, Any]] = []
    for job_id, one in new.items():
        if len(one.progress) < len(one.events):
            ingest(connection, job_id, one.attempt, one.events, one.advanced_at)
            continue
        found += [point_of(job_id, one.attempt, at, data) for at, data in one.progress]
        latest = one.progress[-1][1].model_dump(mode="json")
        advanced.append({"of_job": job_id, "latest": latest, "now": one.advanced_at})
    stored = [
        {"of_job": job_id, "of_attempt": one.attempt, "through": through[job_id]}
        for job_id, one in new.items()
    ]
    store_advances(connection, found=found, advanced=advanced, stored=stored)
