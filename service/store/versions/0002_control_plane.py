"""Owners, labels, history by step, leases, idempotency keys, tokens, quotas, audit, switches."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("owner", sa.String()))
        jobs.add_column(
            sa.Column("private", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        jobs.add_column(sa.Column("plan", sa.JSON()))
        jobs.add_column(sa.Column("cloned_from", sa.String()))
        jobs.add_column(sa.Column("checkpoint_step", sa.Integer()))
        jobs.add_column(sa.Column("checkpoint_at", sa.DateTime()))
        jobs.add_column(sa.Column("advanced_at", sa.DateTime()))
        jobs.add_column(
            sa.Column("preempted", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    op.create_index("ix_jobs_owner", "jobs", ["owner"])
    with op.batch_alter_table("attempts") as attempts:
        for name in ("fence", "num_gpus", "num_cpus"):
            attempts.add_column(sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("checkpoints") as checkpoints:
        checkpoints.add_column(
            sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    op.create_table(
        "labels",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_labels_job_id"),
        sa.PrimaryKeyConstraint("job_id", "key", name="pk_labels"),
    )
    op.create_index("ix_labels_key_value_job_id", "labels", ["key", "value", "job_id"])
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
    )
    op.create_index("ix_points_job_id_step", "points", ["job_id", "step"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("renewals", sa.Integer(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
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
    op.create_table(
        "switches",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_switches"),
    )
    _copy_labels()


def _copy_labels() -> None:
    """Make rows of the labels in the specs; a spec that cannot be read has none."""
    connection = op.get_bind()
    specs = sa.table("jobs", sa.column("id", sa.String()), sa.column("spec", sa.String()))
    labels = sa.table("labels", *(sa.column(name) for name in ("job_id", "key", "value")))
    # As text: what is damaged must not end the migration.
    text = sa.cast(specs.c.spec, sa.String())
    rows = [
        {"job_id": job_id, "key": key, "value": value}
        for job_id, spec in connection.execute(sa.select(specs.c.id, text))
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
