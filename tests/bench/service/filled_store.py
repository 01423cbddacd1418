"""Stores with many jobs and points: rows of the service's own tables, written past its API.

A job is submitted as anybody's, taken through an attempt that reports, and its rows are copied
under other ids, so that what is read is what the service itself wrote.
"""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from service.jobs.lifecycle import Decision
from service.store.engine import connect
from service.store.store import NewAttempt, Store
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

_ROWS_AT_ONCE = 5_000
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
    engine = connect(url)
    ids = [template, *(f"{number:012x}" for number in range(1, num_jobs))]
    with engine.begin() as connection:
        for table in (jobs, labels, attempts, events, checkpoints, points):
            rows = _rows_of(connection, table, template)
            copies = _copies(table, rows, ids[1:])
            while some := list(islice(copies, _ROWS_AT_ONCE)):
                connection.execute(insert(table), some)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()
    return ids


def _rows_of(connection: Connection, table: Table, job_id: str) -> list[dict[str, Any]]:
    column = table.c.id if table is jobs else table.c.job_id
    return [dict(row._mapping) for row in connection.execute(select(table).where(column == job_id))]


def _copies(table: Table, rows: list[dict[str, Any]], ids: list[str]) -> Iterator[dict[str, Any]]:
    for number, job_id in enumerate(ids):
        for row in rows:
            if table is jobs:
                own = {name: value for name, value in row.items() if name != "seq"}
                yield own | {"id": job_id, "created_at": _STARTED + timedelta(seconds=number)}
            else:
                yield row | {"job_id": job_id}


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
    store.append_events(job_id, 1, numbered)
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
