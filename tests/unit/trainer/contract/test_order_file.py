import os
import stat
from pathlib import Path

import pytest

from tests.unit.trainer.runs import SPEC
from trainer.contract.attempt import AttemptOrder
from trainer.contract.order_file import order_of, read_order, replace_order, write_order
from trainer.contract.run_directory import AttemptDirectory

ORDER = AttemptOrder(
    job_id="run", attempt=1, spec=SPEC, accelerator="cpu", resume_from=None, token="secret"
)


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    return AttemptDirectory(tmp_path / "run", 1)


def test_an_order_is_for_its_owners_eyes(attempt: AttemptDirectory) -> None:
    write_order(attempt, ORDER)
    assert read_order(attempt) == ORDER
    assert stat.S_IMODE(attempt.order.stat().st_mode) == 0o600
    assert list(attempt.path.iterdir()) == [attempt.order]


def test_an_order_is_written_once(attempt: AttemptDirectory) -> None:
    write_order(attempt, ORDER)
    with pytest.raises(FileExistsError):
        write_order(attempt, ORDER.model_copy(update={"token": "another"}))
    assert read_order(attempt) == ORDER


def test_an_order_is_replaced_for_its_owners_eyes_and_makes_no_folder(
    attempt: AttemptDirectory,
) -> None:
    with pytest.raises(FileNotFoundError):
        replace_order(attempt, ORDER)
    assert not attempt.run.exists()
    write_order(attempt, ORDER)
    changed = ORDER.model_copy(update={"control_plane_url": "http://elsewhere"})
    replace_order(attempt, changed)
    assert read_order(attempt) == changed
    assert stat.S_IMODE(attempt.order.stat().st_mode) == 0o600


def test_death_while_an_order_is_written_leaves_none(
    attempt: AttemptDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        write_order(attempt, ORDER)
    assert not attempt.order.exists()
    assert order_of(attempt) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"token": "secret"}'])
def test_what_is_no_order_began_nothing_and_is_told_without_its_token(
    attempt: AttemptDirectory, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    attempt.path.mkdir(parents=True)
    attempt.order.write_bytes(content)
    assert order_of(attempt) is None
    assert f"{attempt.order} is not an order" in caplog.text
    assert "secret" not in caplog.text


def test_an_order_that_the_disk_does_not_give_away_is_not_overlooked(
    attempt: AttemptDirectory,
) -> None:
    attempt.order.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        order_of(attempt)
