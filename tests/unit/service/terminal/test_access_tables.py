"""Tokens, usage and the audit log in the terminal."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from service.terminal.access_tables import audit_table, token_table, usage_table
from service.views.access import AuditRecord, OwnerUsage, QuotaView, Token

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def lines_of(table: Table, width: int = 120) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as printed:
        console.print(table)
    return [line.rstrip() for line in printed.get().splitlines()]


def token(**fields: Any) -> Token:
    known: dict[str, Any] = {
        "id": "0123456789ab",
        "owner": "ann",
        "role": "viewer",
        "description": "for [red]dashboards[/]",
        "created_at": AT,
        "expires_at": None,
        "revoked_at": None,
        "used_at": None,
        "is_live": True,
    }
    return Token(**known | fields)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "live"),
        ({"expires_at": AT + timedelta(days=1)}, "until 2026-01-03 03:04"),
        ({"expires_at": AT, "is_live": False}, "expired"),
        ({"expires_at": AT, "revoked_at": AT, "is_live": False}, "revoked"),
    ],
)
def test_a_token_says_whether_it_lets_in(fields: dict[str, Any], state: str) -> None:
    _, line = lines_of(token_table([token(**fields)]))
    assert f" {state} " in line
    assert " never " in line
    # What its maker wrote is text, and marks up nothing.
    assert line.endswith("for [red]dashboards[/]")


def test_usage_stands_beside_what_limits_it() -> None:
    usage = OwnerUsage(
        owner="ann",
        active_jobs=1,
        queued_jobs=2,
        gpu_hours=1234.56,
        disk_bytes=2_500_000_000,
        quota=QuotaView(max_active_jobs=4, disk_bytes=10**10),
    )
    _, line = lines_of(usage_table([usage]))
    for part in ("1 of 4", "2", "1,234.6", "2.5 of 10"):
        assert part in line


def test_what_was_done_is_one_line_whatever_the_width() -> None:
    entry = AuditRecord(
        seq=1,
        at=AT,
        actor=None,
        address=None,
        action="checkpoint.delete",
        target="0123456789ab",
        detail={"step": 10},
    )
    for width in (80, 120):
        text = lines_of(audit_table([entry]), width)
        assert "2026-01-02 03:04" in text[1]
        assert "checkpoint.delete" in text[1]
        assert "0123456789ab" in text[1]
    assert "everyone" in text[1]
    assert "this machine" in text[1]
    assert text[1].endswith('{"step": 10}')


def test_at_eighty_columns_what_is_to_be_copied_is_whole() -> None:
    expiring = token(
        owner="alice@example.org",
        role="submitter",
        expires_at=AT + timedelta(days=90),
        used_at=AT,
        description="nightly",
    )
    lines = lines_of(token_table([expiring]), width=80)
    (row,) = [line for line in lines if line.startswith("0123456789ab")]
    assert row.split()[:3] == ["0123456789ab", "alice@example.org", "submitter"]
    assert "nightly" in row
    assert all(len(line) <= 80 for line in lines)
