"""Indexes of what a caller is told of, from which pages are cut."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for columns in (["private", "seq"], ["private", "status", "seq"], ["owner", "status", "seq"]):
        op.create_index(f"ix_jobs_{'_'.join(columns)}", "jobs", columns)
