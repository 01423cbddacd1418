"""What is read and written in the folders of attempts."""

from pathlib import Path

import pytest

from service.attempt_files import has_advanced, read_outcome, read_spool, redirect, resume_point
from tests.unit.service.world import event_of
from trainer.contract.run_directory import AttemptDirectory, RunDirectory


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    attempt = RunDirectory(tmp_path / "run").attempt(2)
    attempt.checkpoints.mkdir(parents=True)
    return attempt


def test_an_attempt_has_advanced_once_it_has_committed_beyond_where_it_began(
    attempt: AttemptDirectory,
) -> None:
    began_from = "attempts/0001/checkpoints/step-00000010"
    assert not has_advanced(attempt, None)
    # Half a checkpoint, and the one it began from saved again.
    (attempt.checkpoints / ".step-00000020.partial").mkdir()
    attempt.checkpoint(10).mkdir()
    assert not has_advanced(attempt, began_from)
    assert has_advanced(attempt, None)
    attempt.checkpoint(11).mkdir()
    assert has_advanced(attempt, began_from)


def test_what_is_not_there_is_nothing_and_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    none = RunDirectory(tmp_path / "none")
    assert read_outcome(none.attempt(1)) is None
    assert read_spool(none.attempt(1)) == []
    assert resume_point(none, [1]) is None
    redirect(none.attempt(1), "http://here")
    assert not none.path.exists()
    (tmp_path / "file").touch()
    file = RunDirectory(tmp_path / "file")
    for use in (
        lambda: read_outcome(file.attempt(1)),
        lambda: redirect(file.attempt(1), "http://here"),
        lambda: resume_point(file, [1]),
    ):
        with pytest.raises(NotADirectoryError):
            use()


def test_of_the_spool_is_taken_what_can_be_read(attempt: AttemptDirectory) -> None:
    lines = [event_of(number).model_dump_json().encode() for number in (1, 2)]
    attempt.events.write_bytes(b"\n".join([*lines, b'{"number": 3']))
    assert read_spool(attempt) == [event_of(1), event_of(2)]
    attempt.events.unlink()
    attempt.events.mkdir()
    assert read_spool(attempt) == []


def test_what_is_no_outcome_is_none(attempt: AttemptDirectory) -> None:
    attempt.outcome.write_text('{"outcome": "perhaps"}')
    assert read_outcome(attempt) is None
