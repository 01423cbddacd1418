"""The commands of those who run the service."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from service.steady_clock import SteadyClock
from service.store.store import Store
from service.store.tokens import list_tokens
from service.terminal.access import OptionError, duration, until_idle
from service.terminal.cli import main
from service.views.access import DrainState
from tests.unit.service.conftest import job_in, make_spec
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import Guarded, guarding
from trainer.contract.status import Status


class Terminal:
    """Runs commands in this process, as scripts do in theirs."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: str) -> str:
        """Return what a command that succeeds prints."""
        code, printed, told = self.try_to_run(*arguments)
        assert code == 0, told
        return printed

    def try_to_run(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error."""
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        printed = self._capsys.readouterr()
        code = ended.value.code
        return code if isinstance(code, int) else 0, printed.out, printed.err

    def json(self, *arguments: str) -> Any:
        """Return what a command prints as JSON."""
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


# On the store


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path / "state"
    monkeypatch.setenv("ALEXNET_STATE_DIR", str(state))
    monkeypatch.delenv("ALEXNET_STORE_URL", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return state


def test_the_first_token_is_made_before_there_is_a_store(state: Path, terminal: Terminal) -> None:
    printed = terminal.run("tokens", "create", "--owner", "ann", "--role", "admin")
    prefix, token_id, secret = printed.strip().split("_", 2)
    assert prefix == "alexnet"
    # Nobody else may look at what lies there.
    assert state.stat().st_mode & 0o077 == 0
    store = Store(Settings().store_url)
    (record,) = store.read(list_tokens)
    store.close()
    assert (record.id, record.owner, record.role) == (token_id, "ann", "admin")
    for file in state.glob("store.db*"):
        assert secret.encode() not in file.read_bytes()


@pytest.mark.usefixtures("state")
def test_a_token_expires_by_the_machines_clock(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SteadyClock, "now", lambda _: datetime.now(UTC) + timedelta(hours=2))
    made = terminal.json(
        "tokens", "create", "--owner", "ann", "--role", "viewer", "--expires", "1h"
    )
    assert made["is_live"]
    assert datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC) <= timedelta(hours=1)
    (listed,) = terminal.json("tokens", "list")["tokens"]
    assert listed["is_live"]


@pytest.mark.usefixtures("state")
def test_tokens_are_listed_and_revoked(terminal: Terminal) -> None:
    made = terminal.json(
        "tokens", "create", "--owner", "ann", "--role", "viewer", "--expires", "2d"
    )
    other = terminal.json("tokens", "create", "--owner", "bob", "--role", "submitter")
    listed = terminal.json("tokens", "list")["tokens"]
    assert [token["id"] for token in listed] == [other["id"], made["id"]]
    assert all("token" not in token for token in listed)
    expires = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(
        made["created_at"]
    )
    assert expires == timedelta(days=2)
    assert "is revoked" in terminal.run("tokens", "revoke", made["id"])
    table = terminal.run("tokens", "list")
    assert "revoked" in table
    assert "live" in table


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "--owner", "a b", "--role", "admin"), "--owner 'a b': String should match"),
        (("create", "--owner", "a", "--role", "admin", "--expires", "soon"), "such as 90d"),
        (("create", "--owner", "a", "--role", "admin", "--description", "\x1b"), "--description"),
        (("revoke", "never"), "there is no token 'never'"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    terminal: Terminal, arguments: tuple[str, ...], message: str
) -> None:
    code, printed, told = terminal.try_to_run("tokens", *arguments)
    assert (code, printed) == (2, "")
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.usefixtures("state")
def test_a_store_that_cannot_be_used_is_named_without_its_password(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no database" * 100)
    monkeypatch.setenv("ALEXNET_STORE_URL", f"sqlite:///{tmp_path / 'notes.txt'}")
    code, _, told = terminal.try_to_run("tokens", "list")
    assert code == 2
    assert "ALEXNET_STORE_URL" in told
    assert "file is not a database" in told


@pytest.mark.parametrize(
    ("text", "meant"),
    [("1h", timedelta(hours=1)), ("90d", timedelta(days=90)), ("4w", timedelta(weeks=4))],
)
def test_a_duration_is_a_number_and_a_unit(text: str, meant: timedelta) -> None:
    assert duration(text) == meant


@pytest.mark.parametrize("text", ["", "d", "0d", "-1d", "1.5d", "90", "90 d", "999999d", "1y"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="such as 90d"):
        duration(text)


# Over the API


@pytest.fixture(scope="module")
def guarded(settings: Settings, databases: Databases) -> Iterator[Guarded]:
    with guarding(settings, databases) as served:
        yield served


@pytest.fixture
def as_admin(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> Guarded:
    token = guarded.admin.headers["Authorization"].removeprefix("Bearer ")
    monkeypatch.setenv("ALEXNET_TOKEN", token)
    monkeypatch.setenv("ALEXNET_URL", guarded.url)
    return guarded


def test_without_a_token_it_is_told_how_to_send_one(
    guarded: Guarded, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ALEXNET_TOKEN", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    code, _, told = terminal.try_to_run("ls", "--url", guarded.url)
    assert code == 2
    assert "ALEXNET_TOKEN or ~/.config/alexnet/token" in told


@pytest.mark.usefixtures("as_admin")
def test_a_quota_changes_in_what_is_given_alone(terminal: Terminal) -> None:
    terminal.run("quota", "ann", "--max-active-jobs", "4", "--gpu-hours", "2.5")
    changed = terminal.json("quota", "ann", "--gpu-hours", "none", "--disk-bytes", "1000")
    assert changed == {
        "max_active_jobs": 4,
        "max_queued_jobs": None,
        "gpu_hours": None,
        "disk_bytes": 1000,
    }
    assert terminal.json("quota", "ann") == changed
    assert "gpu_hours: no limit" in terminal.run("quota", "ann")
    assert "of 4" in terminal.run("usage")
    code, _, told = terminal.try_to_run("quota", "ann", "--gpu-hours", "many")
    assert code == 2
    assert told.startswith("--gpu-hours many: ")


def test_the_audit_log_is_a_table(as_admin: Guarded, terminal: Terminal) -> None:
    as_admin.plane.store.submit("audited", make_spec(), datetime.now(UTC))
    assert "audited" in terminal.run("audit")
    entries = terminal.json("audit", "--target", "audited", "--limit", "1")["entries"]
    assert [entry["action"] for entry in entries] == ["job.submit"]


@pytest.mark.usefixtures("as_admin")
def test_a_drain_is_begun_waited_for_and_ended(terminal: Terminal) -> None:
    told = terminal.run("drain", "--wait")
    assert "the service drains since" in told
    assert "hold devices: 0" in told
    assert terminal.json("undrain")["draining"] is False


def test_waiting_ends_when_nothing_runs_or_the_drain_does() -> None:
    def state(active: int, *, draining: bool = True) -> DrainState:
        return DrainState(draining=draining, since=None, pause=False, active_jobs=active)

    for states, last in (
        ([state(2), state(1), state(0), state(5)], state(0)),
        ([state(2), state(2, draining=False), state(0)], state(2, draining=False)),
        ([state(0)], state(0)),
    ):
        seen = iter(states)
        pauses: list[float] = []
        assert until_idle(lambda left=seen: next(left), pauses.append) == last  # type: ignore[misc]
        assert len(pauses) == states.index(last)


def test_a_job_is_deleted(as_admin: Guarded, terminal: Terminal) -> None:
    job_in(as_admin.plane.store, Status.SUCCEEDED, "ended")
    assert "job ended is deleted" in terminal.run("delete", "ended")
    code, _, told = terminal.try_to_run("delete", "ended")
    assert code == 2
    assert "there is no job 'ended'" in told
