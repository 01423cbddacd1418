import errno
from pathlib import Path

import pytest

from tests.unit.trainer.runs import add_attempt
from trainer import attempt_folder
from trainer import replica as module
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.durable import DiskFullError
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.errors import BadDataError
from trainer.replica import failure, record_failure, record_outcome


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    return add_attempt(RunDirectory(tmp_path / "run"))


def _fill(path: Path, _content: bytes) -> None:
    raise DiskFullError(errno.ENOSPC, "No space left on device", str(path))


def test_a_failure_that_cannot_be_written_does_not_hide_what_failed(
    attempt: AttemptDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "write_whole", _fill)
    with pytest.raises(BadDataError, match="shard x"), record_failure(attempt, rank=2):
        raise BadDataError("shard x")
    assert f"could not write its failure: {attempt.failure(2)} cannot be written" in caplog.text


def test_an_outcome_that_cannot_be_written_is_said_and_returned(
    attempt: AttemptDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = Outcome(outcome="failed", reason=Reason.BAD_DATA, message="shard x")
    monkeypatch.setattr(attempt_folder, "write_whole", _fill)
    assert record_outcome(attempt, outcome) == outcome
    assert "the outcome could not be written" in caplog.text
    monkeypatch.undo()
    assert record_outcome(attempt, outcome) == outcome
    assert attempt.outcome.is_file()


def test_a_full_disk_is_a_foreseen_failure() -> None:
    error = DiskFullError(errno.ENOSPC, "No space left on device", "run/attempts/0001/events.jsonl")
    assert failure(error) == Outcome(
        outcome="failed",
        reason=Reason.NO_STORAGE,
        message="run/attempts/0001/events.jsonl cannot be written: No space left on device; "
        "free space there, then resume",
    )
