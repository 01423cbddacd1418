"""Attempts in the store, each of which begins and ends with its job's status."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, null, select, update
from sqlalchemy.exc import NoResultFound

from service.jobs.lifecycle import Decision
from service.jobs.records import Accelerator, AttemptRecord, CheckpointRecord, JobRecord
from service.store.changes import change_status
from service.store.errors import StaleAttemptError
from service.store.jobs import read_job
from service.store.rows import attempt_of, checkpoint_of
from service.store.tables import attempts, checkpoints, jobs
from trainer.contract.attempt import Outcome
from trainer.contract.status import ACTIVE, Status


@dataclass(frozen=True, kw_only=True)
class NewAttempt:
    """What is known of an attempt before it begins."""

    number: int
    accelerator: Accelerator
    resume_from: str | None
    token_sha256: str | None = None
    """Digest of the token that its order holds; None: nobody may report as this attempt."""
    damaged: str | None = None
    """For people: which later checkpoints it does not go on from, as they are damaged."""
    fence: int = 0
    """Of the leader that begins it."""
    num_cpus: int = 0
    num_gpus: int = 0


def begin_attempt(
    connection: Connection, job: JobRecord, new: NewAttempt, now: datetime
) -> JobRecord:
    """Admit a waiting job, as it was read: the attempt and STARTING, together.

    Raises ChangedMeanwhileError.
    """
    source = f"from {new.resume_from}" if new.resume_from else "from the start"
    if new.damaged is not None:
        source += f", as {new.damaged}"
    change_status(
        connection,
        job,
        Decision(status=Status.STARTING, message=f"attempt {new.number}, {source}"),
        now,
        attempt=new.number,
        started_at=job.started_at or now,
        advanced_at=None,
        preempted_by=None,
        waited_s=job.waited_s + max((now - job.waits_since).total_seconds(), 0.0),
    )
    connection.execute(
        insert(attempts).values(
            job_id=job.id,
            number=new.number,
            token_sha256=new.token_sha256,
            accelerator=new.accelerator,
            resume_from=new.resume_from,
            fence=new.fence,
            num_cpus=new.num_cpus,
            num_gpus=new.num_gpus,
            created_at=now,
        )
    )
    return read_job(connection, job.id)


def read_attempt(connection: Connection, job_id: str, number: int) -> AttemptRecord:
    """Return an attempt that is known to exist, or raise StaleAttemptError."""
    query = select(attempts).where(attempts.c.job_id == job_id, attempts.c.number == number)
    try:
        return attempt_of(connection.execute(query).one())
    except NoResultFound:
        raise StaleAttemptError(job_id, number) from None


def read_attempts(connection: Connection, job_id: str) -> list[AttemptRecord]:
    """Return the attempts of a job in order."""
    query = select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
    return [attempt_of(row) for row in connection.execute(query)]


def attempt_numbers(connection: Connection, job_id: str) -> list[int]:
    """Return the numbers of a job's attempts in order, whatever else is stored of them."""
    query = select(attempts.c.number).where(attempts.c.job_id == job_id)
    return list(connection.execute(query.order_by(attempts.c.number)).scalars())


def live_tokens(connection: Connection) -> dict[tuple[str, int], str]:
    """Return, by job and number, the digests of the tokens of all attempts of jobs that run."""
    query = (
        select(attempts.c.job_id, attempts.c.number, attempts.c.token_sha256)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(jobs.c.status.in_(ACTIVE), attempts.c.token_sha256.is_not(None))
    )
    rows = connection.execute(query)
    return {(row.job_id, row.number): row.token_sha256 for row in rows}


def note_verdict(
    connection: Connection, job_id: str, number: int, verdict: Outcome, *, if_unheard: bool = False
) -> bool:
    """Write down what an attempt comes to that is stopped for it, before it has ended; say if so.

    `if_unheard`: only where it has reported nothing, and is stopped for nothing else, as it stands
    now.
    """
    query = update(attempts).where(
        attempts.c.job_id == job_id, attempts.c.number == number, attempts.c.ended_at.is_(None)
    )
    if if_unheard:
        query = query.where(attempts.c.events_through == 0, attempts.c.outcome.is_(None))
    changed = connection.execute(query.values(outcome=verdict.model_dump(mode="json")))
    return changed.rowcount == 1


def note_verdict_of_all(connection: Connection, verdict: Outcome) -> None:
    """Write the same down for every attempt that has not ended, and is not stopped for another."""
    query = update(attempts).where(attempts.c.ended_at.is_(None), attempts.c.outcome.is_(None))
    connection.execute(query.values(outcome=verdict.model_dump(mode="json")))


def withdraw_verdict(connection: Connection, job_id: str, number: int) -> None:
    """Take back what an attempt was to be stopped for; how it ended once it has, stays."""
    query = update(attempts).where(
        attempts.c.job_id == job_id, attempts.c.number == number, attempts.c.ended_at.is_(None)
    )
    connection.execute(query.values(outcome=null()))


def accelerators_in_use(connection: Connection) -> dict[str, str]:
    """Return, by job, what the newest attempt of each job that has not ended was given."""
    query = (
        select(attempts.c.job_id, attempts.c.accelerator)
        .join(jobs, (jobs.c.id == attempts.c.job_id) & (jobs.c.attempt == attempts.c.number))
        .where(jobs.c.status.in_(ACTIVE))
    )
    return {row.job_id: row.accelerator for row in connection.execute(query)}


def read_checkpoints(connection: Connection, job_id: str) -> list[CheckpointRecord]:
    """Return every checkpoint that was reported, in the order of attempts and steps."""
    query = (
        select(checkpoints)
        .where(checkpoints.c.job_id == job_id)
        .order_by(checkpoints.c.attempt, checkpoints.c.step)
    )
    return [checkpoint_of(row) for row in connection.execute(query)]
