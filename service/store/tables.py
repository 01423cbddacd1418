"""The tables. `versions/` holds the migrations that lead here; a test compares the two."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
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
    false,
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
    # Whose token submitted it; None where no tokens are asked for.
    Column("owner", String),
    # Whether others than its owner and admins are told that there is no such job.
    Column("private", Boolean, nullable=False, default=False, server_default=false()),
    Column("spec", Document, nullable=False),
    # Grows with each change of the spec: who remembers one knows whether it is still so.
    Column("spec_version", Integer, nullable=False, default=0, server_default="0"),
    # What was foreseen of it when it was accepted.
    Column("plan", Document),
    # The job whose spec it was made of.
    Column("cloned_from", String),
    Column("status", String, nullable=False),
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
    # The checkpoint that was saved last.
    Column("checkpoint_step", Integer),
    Column("checkpoint_at", UtcDateTime),
    # When the newest attempt last did a step more, by this service's clock.
    Column("advanced_at", UtcDateTime),
    # The job of higher priority that it makes room for, until its next attempt begins.
    Column("preempted_by", String),
    # Seconds it has waited for its attempts, before the wait it may be in.
    Column("waited_s", Float, nullable=False, default=0.0, server_default="0"),
    # The highest number that an event of it was given; that one may be gone from `events`.
    Column("last_event", Integer, nullable=False, default=0, server_default="0"),
    # Pages are cut from the newest.
    Index(None, "status", "seq"),
    # Of what a caller is told of: what is not private, and what is their own.
    Index(None, "private", "seq"),
    Index(None, "private", "status", "seq"),
    Index(None, "owner", "seq"),
    Index(None, "owner", "status", "seq"),
    sqlite_autoincrement=True,
)

labels = Table(
    "labels",
    metadata,
    Column("job_id", String, ForeignKey("jobs.id"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    # The job's place in the order, by which pages are cut here too.
    Column("job_seq", Integer, nullable=False),
    Index(None, "key", "value", "job_seq"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", String, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("token_sha256", String),
    # The fencing token of the leader that began it.
    Column("fence", Integer, nullable=False, default=0, server_default="0"),
    Column("accelerator", String, nullable=False),
    Column("num_gpus", Integer, nullable=False, default=0, server_default="0"),
    Column("num_cpus", Integer, nullable=False, default=0, server_default="0"),
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
    Column("size_bytes", BigInteger, nullable=False),
    Column("weights_sha256", String, nullable=False),
    Column("top1", Float),
    ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.number"]),
    Index(None, "job_id", "step"),
)

# What an attempt reports step by step: history by step, beside the events and far more of it.
points = Table(
    "points",
    metadata,
    Column("job_id", String, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("epoch", Float, nullable=False),
    Column("loss", Float, nullable=False),
    Column("learning_rate", Float, nullable=False),
    Column("images_per_second", Float, nullable=False),
    Column("data_wait_ratio", Float, nullable=False),
    # Seconds of a step by phase, and images/s by replica (service/store/breakdowns.py).
    Column("phase_seconds", Document),
    ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.number"]),
    # In SQLite the rows lie in their key: a report is one place in the file, and so is a range.
    sqlite_with_rowid=False,
)

# Who may write: one row a role, of which there is one.
leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("url", String, nullable=False),
    # So long after its last renewal anyone may take it.
    Column("duration_s", Float, nullable=False),
    # Grows with each holder; whoever writes with an older one is refused.
    Column("fence", Integer, nullable=False),
    # Grows with each renewal: a waiting process sees by its own clock that the holder lives.
    Column("renewals", Integer, nullable=False),
    Column("released", Boolean, nullable=False, default=False, server_default=false()),
    # What the holder told as the present moment at its last renewal: the next one goes on from it.
    Column("clock", Document),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    # Empty where no tokens are asked for.
    Column("owner", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("body_sha256", String, nullable=False),
    # Who may complete it: a reservation that was taken over has another.
    Column("holder", String, nullable=False),
    # Of the leader that reserved it: what one before it reserved is never completed.
    Column("fence", Integer, nullable=False),
    # None while the first request is in work.
    Column("job_id", String),
    Column("created_at", UtcDateTime, nullable=False, index=True),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("token_sha256", String, nullable=False, unique=True),
    Column("owner", String, nullable=False, index=True),
    Column("role", String, nullable=False),
    Column("description", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("used_at", UtcDateTime),
)

quotas = Table(
    "quotas",
    metadata,
    Column("owner", String, primary_key=True),
    # None: unlimited.
    Column("max_active_jobs", Integer),
    Column("max_queued_jobs", Integer),
    Column("gpu_hours", Float),
    Column("disk_bytes", BigInteger),
)

# What deleted jobs took: deleting gives no GPU-hours back.
spent = Table(
    "spent",
    metadata,
    Column("owner", String, primary_key=True),
    Column("gpu_seconds", Float, nullable=False),
)

# What deleted jobs counted in /metrics, by the names and labels there: no counter falls.
counted = Table(
    "counted",
    metadata,
    Column("metric", String, primary_key=True),
    # The outcome or the reason; empty where it has none.
    Column("label", String, primary_key=True),
    # Of a histogram: the first of its buckets that holds what was measured.
    Column("le", String, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("milliseconds", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("actor", String),
    Column("address", String),
    Column("action", String, nullable=False),
    Column("target", String, index=True),
    Column("detail", Document),
    sqlite_autoincrement=True,
)

# Which store this is: one row.
identity = Table(
    "identity",
    metadata,
    Column("store_id", String, primary_key=True),
)

# What an operator has set while the service runs: whether it drains, for one.
switches = Table(
    "switches",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Document, nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String, primary_key=True),
    # None where no tokens were asked for.
    Column("owner", String, index=True),
    # Whether it is told of every job, or of its owner's alone.
    Column("all_jobs", Boolean, nullable=False),
    Column("url", String, nullable=False),
    Column("events", Document, nullable=False),
    # As it is: what is sent is signed with it.
    Column("secret", String, nullable=False),
    Column("description", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # What became of the last try.
    Column("last_try", Document),
    Column("num_given_up", Integer, nullable=False, default=0, server_default="0"),
)

# What webhooks are still to be told, written with the events: an outbox.
deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    # The same at every try, so that a receiver knows what it has heard before.
    Column("message_id", String, nullable=False, unique=True),
    Column("webhook_id", String, ForeignKey("webhooks.id"), nullable=False),
    # No key of `jobs`: that a job has ended is told though it is deleted meanwhile.
    Column("job_id", String, nullable=False),
    Column("event", String, nullable=False),
    Column("body", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("num_tries", Integer, nullable=False, default=0, server_default="0"),
    Column("due_at", UtcDateTime, nullable=False),
    # Of each job the oldest is next.
    Index(None, "webhook_id", "job_id", "seq"),
    # What is too old is given up.
    Index(None, "created_at"),
    sqlite_autoincrement=True,
)
