"""Tokens, usage and the audit log as tables for the terminal."""

import json
from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from service.views.access import AuditRecord, OwnerUsage, Token

# Columns that may be broken into lines; of the others each cell is to be copied whole.
_PROSE = frozenset({"WHO", "FROM", "DETAIL", "DESCRIPTION", "STATE", "USED", "CREATED"})


def token_table(tokens: Sequence[Token]) -> Table:
    """One row a token."""
    table = _table("ID", "OWNER", "ROLE", "STATE", "USED", "CREATED", "DESCRIPTION")
    for one in tokens:
        table.add_row(
            one.id,
            Text(one.owner),
            one.role,
            _state(one),
            _moment(one.used_at) or "never",
            _moment(one.created_at),
            Text(one.description),
        )
    return table


def usage_table(usage: Sequence[OwnerUsage]) -> Table:
    """One row an owner: what there is, and of how much."""
    table = _table("OWNER", "ACTIVE", "QUEUED", "GPU-HOURS", "DISK GB")
    for one in usage:
        quota = one.quota
        disk = None if quota.disk_bytes is None else quota.disk_bytes / 1e9
        table.add_row(
            Text(one.owner),
            _of(f"{one.active_jobs}", quota.max_active_jobs),
            _of(f"{one.queued_jobs}", quota.max_queued_jobs),
            _of(f"{one.gpu_hours:,.1f}", quota.gpu_hours),
            _of(f"{one.disk_bytes / 1e9:,.1f}", disk),
        )
    return table


def audit_table(entries: Sequence[AuditRecord]) -> Table:
    """One row a thing that was done."""
    table = _table("AT (UTC)", "WHO", "FROM", "DID", "TO", "DETAIL")
    for one in entries:
        table.add_row(
            _moment(one.at),
            Text(one.actor or "everyone"),
            Text(one.address or "this machine"),
            one.action,
            Text(one.target or ""),
            Text("" if one.detail is None else json.dumps(one.detail)),
        )
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading not in _PROSE)
    return table


def _state(token: Token) -> Text:
    if token.revoked_at is not None:
        return Text("revoked", style="red")
    if not token.is_live:
        return Text("expired", style="red")
    until = _moment(token.expires_at)
    return Text(f"until {until}" if until else "live", style="green")


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _of(used: str, limit: float | None) -> str:
    return used if limit is None else f"{used} of {limit:,g}"
