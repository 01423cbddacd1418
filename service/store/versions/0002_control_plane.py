"""Owners, labels, history by step, leases, idempotency keys, tokens, quotas, audit, webhooks."""

import json
import math
import secrets
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not in batches, which may copy a table and drop it: others refer to these.
    op.add_column("jobs", sa.Column("owner", sa.String()))
    op.add_column(
        "jobs", sa.Column("private", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("jobs", sa.Column("plan", sa.JSON()))
    op.add_column("jobs", sa.Column("cloned_from", sa.String()))
    op.add_column("jobs", sa.Column("checkpoint_step", sa.Integer()))
    op.add_column("jobs", sa.Column("checkpoint_at", sa.DateTime()))
    op.add_column("jobs", sa.Column("advanced_at", sa.DateTime()))
    op.add_column("jobs", sa.Column("preempted_by", sa.String()))
    op.add_column("jobs", sa.Column("waited_s", sa.Float(), nullable=False, server_default="0"))
    for name in ("spec_version", "last_event"):
        op.add_column("jobs", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.drop_index("ix_jobs_status", "jobs")
    op.create_index("ix_jobs_status_seq", "jobs", ["status", "seq"])
    op.create_index("ix_jobs_owner_seq", "jobs", ["owner", "seq"])
    for name in ("fence", "num_gpus", "num_cpus"):
        op.add_column("attempts", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("checkpoints") as checkpoints:
        checkpoints.alter_column("size_bytes", type_=sa.BigInteger(), existing_nullable=False)
    op.create_table(
        "labels",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("job_seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_labels_job_id"),
        sa.PrimaryKeyConstraint("job_id", "key", name="pk_labels"),
    )
    op.create_index("ix_labels_key_value_job_seq", "labels", ["key", "value", "job_seq"])
    op.create_table(
        "points",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("epoch", sa.Float(), nullable=False),
        sa.Column("loss", sa.Float(), nullable=False),
        sa.Column("learning_rate", sa.Float(), nullable=False),
        sa.Column("images_per_second", sa.Float(), nullable=False),
        sa.Column("data_wait_ratio", sa.Float(), nullable=False),
        sa.Column("phase_seconds", sa.JSON()),
        sa.ForeignKeyConstraint(
            ["job_id", "attempt"],
            ["attempts.job_id", "attempts.number"],
            name="fk_points_job_id_attempt",
        ),
        sa.PrimaryKeyConstraint("job_id", "attempt", "step", name="pk_points"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("renewals", sa.Integer(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("clock", sa.JSON()),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("token_sha256", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime()),
        sa.Column("revoked_at", sa.DateTime()),
        sa.Column("used_at", sa.DateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("token_sha256", name="uq_tokens_token_sha256"),
    )
    op.create_index("ix_tokens_owner", "tokens", ["owner"])
    op.create_table(
        "quotas",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("max_active_jobs", sa.Integer()),
        sa.Column("max_queued_jobs", sa.Integer()),
        sa.Column("gpu_hours", sa.Float()),
        sa.Column("disk_bytes", sa.BigInteger()),
        sa.PrimaryKeyConstraint("owner", name="pk_quotas"),
    )
    op.create_table(
        "spent",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("gpu_seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_spent"),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String()),
        sa.Column("address", sa.String()),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("target", sa.String()),
        sa.Column("detail", sa.JSON()),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_target", "audit", ["target"])
    identity = op.create_table(
        "identity",
        sa.Column("store_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", name="pk_identity"),
    )
    op.execute(sa.insert(identity).values(store_id=secrets.token_hex(8)))
    op.create_table(
        "switches",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_switches"),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("all_jobs", sa.Boolean(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("last_try", sa.JSON()),
        sa.Column("num_given_up", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("ix_webhooks_owner", "webhooks", ["owner"])
    op.create_table(
        "deliveries",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("webhook_id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("num_tries", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_deliveries"),
        sa.UniqueConstraint("message_id", name="uq_deliveries_message_id"),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name="fk_deliveries_webhook_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_deliveries_webhook_id_job_id_seq", "deliveries", ["webhook_id", "job_id", "seq"]
    )
    op.create_index("ix_deliveries_created_at", "deliveries", ["created_at"])
    _copy_labels()
    _note_last_events()
    _move_progress()
    _note_newest_checkpoints()


def _copy_labels() -> None:
    """Make rows of the labels in the specs; a spec that cannot be read has none."""
    connection = op.get_bind()
    specs = sa.table("jobs", *map(sa.column, ("id", "seq", "spec")))
    labels = sa.table("labels", *map(sa.column, ("job_id", "key", "value", "job_seq")))
    # As text: what is damaged must not end the migration.
    text = sa.cast(specs.c.spec, sa.String())
    rows = [
        {"job_id": job_id, "key": key, "value": value, "job_seq": seq}
        for job_id, seq, spec in connection.execute(sa.select(specs.c.id, specs.c.seq, text))
        for key, value in _labels_of(spec).items()
    ]
    if rows:
        connection.execute(sa.insert(labels), rows)


def _labels_of(spec: str | None) -> dict[str, str]:
    try:
        document: Any = json.loads(spec or "")
        found = document.get("labels") or {}
        return {key: value for key, value in found.items() if isinstance(value, str)}
    except (AttributeError, ValueError):
        return {}


def _note_last_events() -> None:
    """Write the highest number of each job's events beside the job: it is given to no other.

    Before any is moved away: whoever follows the stream across the upgrade has seen it.
    """
    jobs = sa.table("jobs", *map(sa.column, ("id", "last_event")))
    events = sa.table("events", *map(sa.column, ("job_id", "number")))
    highest = sa.select(sa.func.coalesce(sa.func.max(events.c.number), 0))
    last = highest.where(events.c.job_id == jobs.c.id).scalar_subquery()
    op.execute(sa.update(jobs).values(last_event=last))


_ROWS_AT_ONCE = 1000
_MAX_STEP = 2**31 - 1
_NUMBERS = ("epoch", "loss", "learning_rate", "images_per_second", "data_wait_ratio")


def _move_progress() -> None:
    """Make points of the events that tell of progress; the other events keep their numbers.

    What cannot be read stays an event: it must not end the migration.
    """
    connection = op.get_bind()
    events = sa.table("events", *map(sa.column, ("job_id", "number", "attempt", "at", "data")))
    attempts = sa.table("attempts", *map(sa.column, ("job_id", "number")))
    points = sa.table("points", *map(sa.column, ("job_id", "attempt", "step", "at", *_NUMBERS)))
    known = {tuple(row) for row in connection.execute(sa.select(attempts))}
    key = sa.tuple_(events.c.job_id, events.c.number)
    # As text, for what is damaged.
    text = sa.cast(events.c.data, sa.String()).label("data")
    columns = (events.c.job_id, events.c.number, events.c.attempt, events.c.at, text)
    query = sa.select(*columns).order_by(events.c.job_id, events.c.number).limit(_ROWS_AT_ONCE)
    # Only release 0.1 kept progress so, and in SQLite alone; of a step told twice the later counts.
    replace = sa.insert(points).prefix_with("OR REPLACE", dialect="sqlite")
    moved = sa.delete(events).where(
        events.c.job_id == sa.bindparam("of_job"), events.c.number == sa.bindparam("of_number")
    )
    after = sa.tuple_(sa.literal(""), sa.literal(0))
    while rows := connection.execute(query.where(key > after)).all():
        after = sa.tuple_(sa.literal(rows[-1].job_id), sa.literal(rows[-1].number))
        found = []
        for row in rows:
            values = _progress_of(row.data)
            if values is not None and (row.job_id, row.attempt) in known:
                found.append((row, values))
        if found:
            connection.execute(
                replace,
                [
                    {"job_id": row.job_id, "attempt": row.attempt, "at": row.at, **values}
                    for row, values in found
                ],
            )
            connection.execute(
                moved, [{"of_job": row.job_id, "of_number": row.number} for row, _ in found]
            )


def _progress_of(text: str) -> dict[str, Any] | None:
    try:
        document: Any = json.loads(text)
        if document["kind"] != "progress":
            return None
        step, values = int(document["step"]), {name: float(document[name]) for name in _NUMBERS}
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
    # SQLite takes what is no number for NULL, which these columns refuse.
    is_whole = 0 <= step <= _MAX_STEP and all(map(math.isfinite, values.values()))
    return {"step": step, **values} if is_whole else None


def _note_newest_checkpoints() -> None:
    """Write the checkpoint of each job that was saved last beside the job."""
    jobs = sa.table("jobs", *map(sa.column, ("id", "checkpoint_step", "checkpoint_at")))
    saved = sa.table("checkpoints", *map(sa.column, ("job_id", "attempt", "step", "saved_at")))

    def newest(column: sa.ColumnClause[Any]) -> sa.ScalarSelect[Any]:
        return (
            sa.select(column)
            .where(saved.c.job_id == jobs.c.id)
            .order_by(saved.c.attempt.desc(), saved.c.step.desc())
            .limit(1)
            .scalar_subquery()
        )

    op.execute(
        sa.update(jobs).values(
            checkpoint_step=newest(saved.c.step), checkpoint_at=newest(saved.c.saved_at)
        )
    )
