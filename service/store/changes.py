"""The changes that transactions are made of."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, update

from service.jobs.events import JobEventData, StatusChanged
from service.jobs.lifecycle import Decision
from service.jobs.records import JobRecord
from service.store.breakdowns import document_of
from service.store.dialects import upsert
from service.store.errors import ChangedMeanwhileError
from service.store.outbox import put_out
from service.store.tables import attempts, checkpoints, events, jobs, points
from trainer.contract.events import AttemptEvent, CheckpointSaved, Evaluated, Progress, Started
from trainer.contract.status import TERMINAL, Desired, Status, check_transition


def change_status(
    connection: Connection,
    job: JobRecord,
    decision: Decision,
    now: datetime,
    **values: Any,
) -> None:
    """Carry out a decision about a job as it was read: the one place where a status changes.

    `values` are further columns. Raises ChangedMeanwhileError, IllegalTransitionError.
    """
    check_transition(job.status, decision.status)
    is_as_read = [
        jobs.c.id == job.id,
        jobs.c.status == job.status,
        jobs.c.attempt == job.attempt,
    ]
    if decision.status is Status.STARTING:
        # Nothing begins for whoever has asked meanwhile for a pause or a cancel.
        is_as_read.append(jobs.c.desired == Desired.RUN)
    changed = connection.execute(
        update(jobs)
        .where(*is_as_read)
        .values(
            status=decision.status,
            status_since=now,
            reason=decision.reason,
            message=decision.message,
            retry_at=decision.retry_at,
            **values,
        )
    )
    if changed.rowcount != 1:
        raise ChangedMeanwhileError(f"job {job.id} is no longer {job.status} as it was read")
    event = StatusChanged(
        before=job.status, after=decision.status, reason=decision.reason, message=decision.message
    )
    append_event(connection, job.id, now, event, attempt=values.get("attempt", job.attempt or None))


def apply_decision(
    connection: Connection, job: JobRecord, decision: Decision, now: datetime
) -> None:
    """Carry out a decision about a job as it was read, whose attempt it may end.

    Raises ChangedMeanwhileError.
    """
    values: dict[str, Any] = {}
    if decision.num_failures is not None:
        values["num_failures"] = decision.num_failures
    if decision.status in TERMINAL:
        values["finished_at"] = now
    change_status(connection, job, decision, now, **values)
    if decision.ended is not None:
        outcome = decision.ended.model_dump(mode="json")
        update_attempt(connection, job.id, job.attempt, ended_at=now, outcome=outcome)


def append_event(
    connection: Connection,
    job_id: str,
    at: datetime,
    data: JobEventData,
    *,
    attempt: int | None = None,
    attempt_event: int | None = None,
) -> None:
    """Add an event under the job's next number.

    The job's row must be locked, by a change of it or `read_job`: numbers have no gaps.
    """
    row = _event_row(at, data, attempt=attempt, attempt_event=attempt_event)
    _append(connection, job_id, [row])


def ingest(
    connection: Connection,
    job_id: str,
    attempt: int,
    reported: Sequence[AttemptEvent],
    now: datetime,
) -> None:
    """Add what an attempt reports, and keep the latest of each kind where it is looked for.

    Progress becomes points, and no event. The job's row must be locked.
    """
    told: list[dict[str, Any]] = []
    found_points: list[dict[str, Any]] = []
    saved: list[dict[str, Any]] = []
    of_job: dict[str, Any] = {}
    latest: Progress | None = None
    for event in reported:
        data = event.data
        if isinstance(data, Progress):
            found_points.append(point_of(job_id, attempt, event.at, data))
            latest = data
            continue
        told.append(_event_row(event.at, data, attempt=attempt, attempt_event=event.number))
        match data:
            case Started():
                pids = list(data.worker_pids)
                update_attempt(connection, job_id, attempt, worker_pids=pids)
            case Evaluated():
                of_job["evaluation"] = data.model_dump(mode="json")
            case CheckpointSaved():
                of_job |= {"checkpoint_step": data.step, "checkpoint_at": event.at}
                place = {"job_id": job_id, "attempt": attempt, "saved_at": event.at}
                saved.append(place | data.model_dump(exclude={"kind"}))
    if latest is not None:
        of_job |= {"progress": latest.model_dump(mode="json"), "advanced_at": now}
    _append(connection, job_id, told)
    # What is told again, as a checkpoint at a pause may be, is the same.
    upsert(connection, points, found_points)
    upsert(connection, checkpoints, saved)
    if of_job:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(**of_job))


def point_of(job_id: str, attempt: int, at: datetime, progress: Progress) -> dict[str, Any]:
    """Make a row of `points`."""
    return {
        "job_id": job_id,
        "attempt": attempt,
        "step": progress.step,
        "at": at,
        "epoch": progress.epoch,
        "loss": progress.loss,
        "learning_rate": progress.learning_rate,
        "images_per_second": progress.images_per_second,
        "data_wait_ratio": progress.data_wait_ratio,
        "phase_seconds": document_of(progress),
    }


def update_attempt(connection: Connection, job_id: str, number: int, **values: Any) -> None:
    """Set columns of an attempt."""
    connection.execute(
        update(attempts)
        .where(attempts.c.job_id == job_id, attempts.c.number == number)
        .values(**values)
    )


def _event_row(
    at: datetime, data: JobEventData, *, attempt: int | None, attempt_event: int | None
) -> dict[str, Any]:
    document = data.model_dump(mode="json")
    return {"at": at, "attempt": attempt, "attempt_event": attempt_event, "data": document}


def _append(connection: Connection, job_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    last = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(last_event=jobs.c.last_event + len(rows))
        .returning(jobs.c.last_event)
    ).scalar_one()
    numbered = [
        {**row, "job_id": job_id, "number": number}
        for number, row in enumerate(rows, last - len(rows) + 1)
    ]
    connection.execute(insert(events), numbered)
    put_out(connection, job_id, numbered)
