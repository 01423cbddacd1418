"""Stores with many jobs and points: rows of the service's own tables, written past its API.

A job is submitted as anybody's, taken through an attempt that reports, and its rows are copied
under other ids, so that what is read is what the service itself wrote.
"""

import os
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, event, insert, select

from service.jobs.lifecycle import Decision
from service.store.attempts import NewAttempt
from service.store.engine import connect
from service.store.reports import Report
from service.store.store import Store
from service.store.tables import attempts, checkpoints, events, jobs, labels, points
from trainer.contract.attempt import Outcome
from trainer.contract.events import (
    AttemptEvent,
    AttemptEventData,
    CheckpointSaved,
    Evaluated,
    Progress,
    Started,
)
from trainer.contract.spec import JobSpec
from trainer.contract.status import Status

# Some 200,000 points: quick, and little to sort.
_JOBS_AT_ONCE = 2_000
_STARTED = datetime(2026, 11, 1, tzinfo=UTC)
STEPS_BETWEEN_POINTS = 10


def spec_for(folder: Path, number: int = 0) -> JobSpec:
    """Return a job as people submit them."""
    return JobSpec.model_validate(
        {
            "name": f"bench {number}",
            "labels": {"team": f"team-{number % 50}", "purpose": "bench"},
            "data": {
                "train": str(folder / "train/manifest.json"),
                "validation": str(folder / "validation/manifest.json"),
            },
        }
    )


def progress(step: int) -> Progress:
    """Return what an attempt reports after a step."""
    return Progress(
        step=step,
        epoch=step / 1000,
        planned_steps=90_000,
        loss=6.9 - step / 90_000,
        learning_rate=0.01,
        images_per_second=1234.5,
        data_wait_ratio=0.05,
    )


def fill(url: str, folder: Path, *, num_jobs: int, points_per_job: int) -> list[str]:
    """Fill a migrated store with jobs that have ended; return their ids."""
    store = Store(url)
    template = _finished_job(store, folder, points_per_job)
    store.close()
    ids = [template, *(f"{number:012x}" for number in range(1, num_jobs))]
    engine = connect(url)
    # Copies refer to copies: to check each of millions of rows takes as long as to write it.
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _check_no_keys)
    for first in range(0, num_jobs, _JOBS_AT_ONCE):
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            _copy_job(connection, template, ids[first + 1 :][:_JOBS_AT_ONCE])
            for table in (labels, attempts, events, checkpoints, points):
                _copy_rows(connection, table, template, after_seq=first + 1)
    _settle(engine)
    engine.dispose()
    return ids


def _settle(engine: Engine) -> None:
    """Have done what a database that has grown over months has done by itself."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")
        else:
            connection.exec_driver_sql("ANALYZE")
    if engine.dialect.name == "sqlite":
        # In no transaction, which SQLAlchemy begins whatever it is told.
        with closing(engine.raw_connection()) as raw:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # The kernel writes gigabytes out beside whoever is asked first otherwise.
    os.sync()


def _check_no_keys(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = OFF")


def _copy_job(connection: Connection, template: str, ids: Sequence[str]) -> None:
    row = connection.execute(select(jobs).where(jobs.c.id == template)).one()
    own = {name: value for name, value in row._mapping.items() if name != "seq"}
    if ids:
        connection.execute(insert(jobs), [own | {"id": job_id} for job_id in ids])


def _copy_rows(connection: Connection, table: Table, template: str, after_seq: int) -> None:
    """Give some jobs the rows of the template, within the database: nothing is as quick."""
    row = table.alias()
    # What is not the template's.
    own = {"job_id": jobs.c.id, "job_seq": jobs.c.seq}
    query = (
        select(*(own.get(column.name, row.c[column.name]) for column in table.c))
        .join_from(jobs, row, row.c.job_id == template)
        .where(jobs.c.seq > after_seq, jobs.c.seq <= after_seq + _JOBS_AT_ONCE)
        # In the order of the keys, so that the tables grow at their ends.
        .order_by(jobs.c.id, *(row.c[name] for name in table.primary_key.c.keys()[1:]))
    )
    connection.execute(insert(table).from_select([*table.c.keys()], query))


def _finished_job(store: Store, folder: Path, num_points: int) -> str:
    job_id = f"{0:012x}"
    store.submit(job_id, spec_for(folder), _STARTED)
    begin(store, job_id, secrets.token_urlsafe())
    reported: list[AttemptEventData] = [
        _started(),
        *(progress(STEPS_BETWEEN_POINTS * (index + 1)) for index in range(num_points)),
        CheckpointSaved(
            step=1000,
            epoch=1,
            path="attempts/0001/checkpoints/step-00001000",
            size_bytes=488_000_000,
            weights_sha256="0" * 64,
            top1=0.1,
        ),
        Evaluated(step=1000, epoch=1, num_samples=50_000, loss=6.0, top1=0.1, top5=0.3),
    ]
    numbered = [
        AttemptEvent(number=number, at=_STARTED, data=data)
        for number, data in enumerate(reported, start=1)
    ]
    # However long so many take.
    report = Report(job_id=job_id, attempt=1, events=numbered, at=_STARTED)
    store.take_report(report).result()
    store.apply(store.job(job_id), Decision(status=Status.RUNNING), _STARTED)
    done = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded", step=1000))
    store.apply(store.job(job_id), done, _STARTED)
    return job_id


def _started() -> Started:
    return Started(
        start_step=0,
        planned_steps=90_000,
        steps_per_epoch=1000,
        worker_pids=(1, 2),
        devices=("cpu", "cpu"),
    )


def begin(store: Store, job_id: str, token_sha256: str) -> None:
    """Begin the first attempt of a job, as the reconciler would."""
    new = NewAttempt(number=1, accelerator="cpu", resume_from=None, token_sha256=token_sha256)
    store.begin_attempt(store.job(job_id), new, _STARTED)
