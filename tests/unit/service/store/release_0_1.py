"""A store as release 0.1 wrote it, by its own words: SQLite, and progress among the events."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import create_engine

from service.store.migrate import alembic_config

AT = "2026-01-01 12:00:00.000000"
LATER = "2026-01-01 12:30:00.250000"
SPEC: dict[str, Any] = {
    "version": 1,
    "name": "a job",
    "data": {"train": "/d/t.json", "validation": "/d/v.json"},
}
SAVED = {"epoch": 0.4, "path": "p", "size_bytes": 9, "weights_sha256": "f" * 64, "top1": 0.5}


def progress(step: int) -> dict[str, Any]:
    return {
        "kind": "progress",
        "step": step,
        "epoch": step / 10,
        "planned_steps": 100,
        "loss": 1.5,
        "learning_rate": 0.01,
        "images_per_second": 100.0,
        "data_wait_ratio": 0.0,
    }


def write(path: Path) -> None:
    """Make the file: jobs of several statuses, one of them damaged."""
    _make_tables(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA foreign_keys = ON")
        _job(database, "waits", "QUEUED", labels={"team": "vision", "on": "1"})
        _job(database, "torn", "SUCCEEDED", spec="{torn")
        _job(database, "runs", "RUNNING", attempt=2, labels={"team": "audio"})
        _job(database, "done", "SUCCEEDED", attempt=1)
        for job_id, number in (("runs", 1), ("runs", 2), ("done", 1)):
            _attempt(database, job_id, number)
        _events(database, "runs", (1, 4), (2, 3))
        _events(database, "done", (1, 3))
        for job_id, attempt, step in (("runs", 1, 4), ("runs", 2, 3), ("done", 1, 3)):
            _insert(
                database,
                "checkpoints",
                {"job_id": job_id, "attempt": attempt, "step": step, "saved_at": AT, **SAVED},
            )
        database.execute(
            "INSERT INTO events VALUES ('done', 99, ?, 1, 99, '{torn')",
            (AT,),
        )
        # Its last event is of progress, of a step that was told of before.
        _progress(database, "runs", 10, 2, progress(3))
        # What no column takes.
        torn: tuple[dict[str, Any], ...]
        torn = ({"loss": float("nan")}, {"epoch": float("inf")}, {"step": 1e999}, {"step": 2**63})
        for number, change in enumerate(torn, start=95):
            _progress(database, "done", number, 1, progress(1) | change)
        database.commit()


def tell_progress(path: Path, job_id: str, first_number: int, steps: Iterable[int]) -> None:
    """Add an event of progress of the first attempt for each step; the loss is its number."""
    with closing(sqlite3.connect(path)) as database:
        for number, step in enumerate(steps, start=first_number):
            _progress(database, job_id, number, 1, progress(step) | {"loss": float(number)})
        database.commit()


def _progress(
    database: sqlite3.Connection, job_id: str, number: int, attempt: int, data: dict[str, Any]
) -> None:
    values = {"job_id": job_id, "number": number, "at": AT, "attempt": attempt}
    values |= {"attempt_event": number, "data": json.dumps(data)}
    _insert(database, "events", values)


def _make_tables(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
    engine.dispose()


def _job(
    database: sqlite3.Connection,
    job_id: str,
    status: str,
    *,
    attempt: int = 0,
    labels: dict[str, str] | None = None,
    spec: str | None = None,
) -> None:
    trained = attempt > 0
    _insert(
        database,
        "jobs",
        {
            "id": job_id,
            "spec": spec or json.dumps(SPEC | {"labels": labels or {}}),
            "status": status,
            "desired": "run",
            "attempt": attempt,
            "num_failures": max(attempt - 1, 0),
            "created_at": AT,
            "status_since": AT,
            "started_at": AT if trained else None,
            "finished_at": LATER if status == "SUCCEEDED" else None,
            "progress": json.dumps(progress(3)) if trained else None,
        },
    )


def _attempt(database: sqlite3.Connection, job_id: str, number: int) -> None:
    values = {
        "job_id": job_id,
        "number": number,
        "accelerator": "cpu",
        "created_at": AT,
        "submitted_at": AT,
        "worker_pids": "[7, 8]",
        "events_through": 3,
    }
    _insert(database, "attempts", values)


def _events(database: sqlite3.Connection, job_id: str, *attempts: tuple[int, int]) -> None:
    """Tell of every step of each attempt, and of a change of status after each attempt."""
    number = 0
    for attempt, steps in attempts:
        told: list[dict[str, Any]] = [progress(step) for step in range(1, steps + 1)]
        told.append({"kind": "status", "before": "STARTING", "after": "RUNNING"})
        for attempt_event, data in enumerate(told, start=1):
            number += 1
            values = {
                "job_id": job_id,
                "number": number,
                "at": AT,
                "attempt": attempt,
                "attempt_event": None if data["kind"] == "status" else attempt_event,
                "data": json.dumps(data),
            }
            _insert(database, "events", values)


def _insert(database: sqlite3.Connection, table: str, values: dict[str, Any]) -> None:
    names, places = ", ".join(values), ", ".join("?" for _ in values)
    database.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(values.values()))
