import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from service.control_plane import ControlPlane
from service.terminal.webhooks import webhook_table
from service.views.webhooks import WebhookTry, WebhookView
from service.webhooks.happenings import ENDED
from tests.unit.service.terminal.conftest import Run

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
PUBLIC = "https://93.184.216.34/hook"


def test_a_webhook_is_made_listed_and_deleted(alexnet: Run, service: ControlPlane) -> None:
    assert alexnet("webhooks", "list") == (0, "no webhooks\n", "")
    code, out, err = alexnet("webhooks", "create", PUBLIC, "--event", "job.paused", "--json")
    made = json.loads(out)
    assert (code, err, made["events"], made["all_jobs"]) == (0, "", ["job.paused"], True)
    code, out, _ = alexnet("webhooks", "create", PUBLIC)
    assert out.splitlines()[1].startswith("whsec_")
    (first, second) = json.loads(alexnet("webhooks", "list", "--json")[1])["webhooks"]
    assert {first["events"][0], second["events"][0]} == {"job.succeeded", "job.paused"}
    assert "secret" not in first
    for one in (first, second):
        deleted = alexnet("webhooks", "delete", one["id"])
        assert deleted == (0, f"webhook {one['id']} is deleted\n", "")
    code, _, err = alexnet("webhooks", "delete", made["id"])
    assert (code, err.splitlines()[0][:20]) == (2, "there is no webhook ")


def test_what_cannot_be_asked_for_is_told_by_its_field(alexnet: Run, service: ControlPlane) -> None:
    wrong = ("--description", "a\nb", "https://hooks.example.org/" + "a" * 2000)
    code, out, err = alexnet("webhooks", "create", *wrong)
    assert (code, out) == (2, "")
    told = err.splitlines()
    assert told[0] == "this cannot be asked for:"
    assert [line.partition(":")[0] for line in told[1:]] == ["  url", "  description"]


def test_the_help_fits_eighty_columns(alexnet: Run) -> None:
    for command in ("create", "list", "test", "delete"):
        code, out, _ = alexnet("webhooks", command, "--help")
        assert code == 0
        assert max(map(len, out.splitlines())) <= 80
    assert "--event EVENT" in alexnet("webhooks", "create", "--help")[1]


def test_a_url_that_is_refused_is_told_by_its_field(alexnet: Run, service: ControlPlane) -> None:
    code, out, err = alexnet("webhooks", "create", "https://10.0.0.1/hook")
    assert (code, out) == (2, "")
    assert err.splitlines()[1].startswith("  url: 10.0.0.1 is within the service's own network")


@pytest.mark.parametrize(("delivered", "code"), [(True, 0), (False, 1)])
def test_a_test_exits_by_what_came_of_it(
    alexnet: Run, monkeypatch: pytest.MonkeyPatch, delivered: bool, code: int
) -> None:
    tried = WebhookTry(
        at=AT, message_id="msg_1", event="webhook.test", delivered=delivered, detail="answered 999"
    )
    monkeypatch.setattr("service.terminal.webhooks.Client.test_webhook", lambda *_: tried)
    found, out, err = alexnet("webhooks", "test", "hook")
    assert (found, "answered 999" in (out if delivered else err)) == (code, True)
    found, out, err = alexnet("webhooks", "test", "hook", "--json")
    assert (found, json.loads(out)["delivered"], err) == (code, delivered, "")


def shown(**changes: Any) -> str:
    values: dict[str, Any] = {
        "id": "0123456789ab",
        "owner": "alice@example.org",
        "url": "https://hooks.example.org/a/rather/long/path/to/somewhere",
        "events": tuple(ENDED),
        "all_jobs": False,
        "description": "pager",
        "created_at": AT,
        "pending": 12,
        "num_given_up": 345,
        "last_try": WebhookTry(
            at=AT, message_id="m", event="e", delivered=False, detail="answered 500"
        ),
    }
    console = Console(width=80, file=io.StringIO())
    console.print(webhook_table([WebhookView(**values | changes)]))
    assert isinstance(console.file, io.StringIO)
    table = console.file.getvalue()
    assert all(len(line) <= 80 for line in table.splitlines())
    return table


def test_the_table_fits_eighty_columns_and_cuts_nothing_off() -> None:
    table = shown()
    assert "…" not in table
    joined = "".join(table.split())
    for part in ("0123456789ab", "own", "12", "345", "pager"):
        assert part in joined


def test_a_long_answer_is_cut_and_nothing_moves_the_cursor() -> None:
    tried = WebhookTry(at=AT, message_id="m", event="e", delivered=False, detail="no way " * 40)
    table = shown(last_try=tried, description="a\x1b[2Jb")
    assert len(table.splitlines()) < 14
    assert "…" in table
    assert "\x1b" not in table
    assert "\\x1b[2Jb" in "".join(table.split())
