"""The changes that transactions are made of."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from service.jobs.events import JobEventData, StatusChanged
from service.jobs.lifecycle import Decision
from service.jobs.records import JobRecord
from service.store.dialects import upsert
from service.store.errors import ChangedMeanwhileError
from service.store.tables import attempts, checkpoints, events, jobs
from trainer.contract.events import AttemptEvent, CheckpointSaved, Evaluated, Progress, Started
from trainer.contract.status import check_transition


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
    changed = connection.execute(
        update(jobs)
        .where(jobs.c.id == job.id, jobs.c.status == job.status, jobs.c.attempt == job.attempt)
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
        raise ChangedMeanwhileError(f"job {job.id} is no longer {job.status}")
    event = StatusChanged(
        before=job.status, after=decision.status, reason=decision.reason, message=decision.message
    )
    append_event(connection, job.id, now, event, attempt=values.get("attempt", job.attempt or None))


def append_event(
    connection: Connection,
    job_id: str,
    at: datetime,
    data: JobEventData,
    *,
    attempt: int | None = None,
    attempt_event: int | None = None,
) -> None:
    """Add an event under the job's next number."""
    newest = select(func.coalesce(func.max(events.c.number), 0)).where(events.c.job_id == job_id)
    connection.execute(
        insert(events).values(
            job_id=job_id,
            number=connection.execute(newest).scalar_one() + 1,
            at=at,
            attempt=attempt,
            attempt_event=attempt_event,
            data=data.model_dump(mode="json"),
        )
    )


def ingest(connection: Connection, job_id: str, attempt: int, event: AttemptEvent) -> None:
    """Add what an attempt reports, and keep the latest of each kind where it is looked for."""
    append_event(
        connection, job_id, event.at, event.data, attempt=attempt, attempt_event=event.number
    )
    match event.data:
        case Started():
            pids = list(event.data.worker_pids)
            update_attempt(connection, job_id, attempt, worker_pids=pids)
        case Progress():
            _update_job(connection, job_id, progress=event.data.model_dump(mode="json"))
        case Evaluated():
            _update_job(connection, job_id, evaluation=event.data.model_dump(mode="json"))
        case CheckpointSaved():
            _update_job(connection, job_id, checkpoint_step=event.data.step, checkpoint_at=event.at)
            values = {
                "job_id": job_id,
                "attempt": attempt,
                "saved_at": event.at,
                **event.data.model_dump(exclude={"kind"}),
            }
            # One that is saved again, say at a pause, is the same, and stays pinned.
            upsert(connection, checkpoints, [values])


def update_attempt(connection: Connection, job_id: str, number: int, **values: Any) -> None:
    """Set columns of an attempt."""
    connection.execute(
        update(attempts)
        .where(attempts.c.job_id == job_id, attempts.c.number == number)
        .values(**values)
    )


def _update_job(connection: Connection, job_id: str, **values: Any) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))
