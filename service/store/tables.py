"""The tables. `versions/` holds the migrations that lead here; a test compares the two."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment; SQLite forgets time zones, so it is kept in UTC without one."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn any aware moment into naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Say that what comes back is UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


# None is NULL, not the JSON text null.
Document = JSON(none_as_null=True)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    # Order of arrival: age is told by it and not by clocks.
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("spec", Document, nullable=False),
    Column("status", String, nullable=False, index=True),
    Column("desired", String, nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("num_failures", Integer, nullable=False, default=0),
    Column("reason", String),
    Column("message", String),
    Column("created_at", UtcDateTime, nullable=False),
    Column("status_since", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("retry_at", UtcDateTime),
    Column("progress", Document),
    Column("evaluation", Document),
    sqlite_autoincrement=True,
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", String, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("token_sha256", String),
    Column("accelerator", String, nullable=False),
    Column("resume_from", String),
    Column("created_at", UtcDateTime, nullable=False),
    Column("submitted_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("outcome", Document),
    Column("worker_pids", Document),
    Column("events_through", Integer, nullable=False, default=0),
)

events = Table(
    "events",
    metadata,
    Column("job_id", String, ForeignKey("jobs.id"), primary_key=True),
    # Counts from 1 within the job.
    Column("number", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("attempt", Integer),
    # The attempt's own number of the event; None for what the control plane says.
    Column("attempt_event", Integer),
    Column("data", Document, nullable=False),
    UniqueConstraint("job_id", "attempt", "attempt_event"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("job_id", String, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("saved_at", UtcDateTime, nullable=False),
    Column("epoch", Float, nullable=False),
    Column("path", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("weights_sha256", String, nullable=False),
    Column("top1", Float),
    ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.number"]),
    Index(None, "job_id", "step"),
)
