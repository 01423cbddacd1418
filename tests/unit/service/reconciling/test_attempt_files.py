"""What is read and written in the folders of attempts."""

import shutil
from pathlib import Path

import pytest

from service.reconciling.attempt_files import (
    ResumePoint,
    has_advanced,
    read_outcome,
    read_spool,
    redirect,
    resume_point,
)
from tests.unit.service.world import World, event_of
from trainer.contract.attempt import AttemptOrder
from trainer.contract.order_file import order_of
from trainer.contract.run_directory import AttemptDirectory, RunDirectory


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    attempt = RunDirectory(tmp_path / "run").attempt(2)
    attempt.checkpoints.mkdir(parents=True)
    return attempt


def test_a_checkpoint_counts_as_an_advance_by_what_is_in_it_and_not_by_its_name(
    world: World,
) -> None:
    began_from = "attempts/0001/checkpoints/step-00000010"
    world.submit()
    world.tick()
    run = RunDirectory(world.run_root / "a")
    assert not has_advanced(run, [1], None)
    world.checkpoint(10)
    assert has_advanced(run, [1], None)
    assert not has_advanced(run, [1], began_from)
    (world.checkpoint(20) / "velocity.safetensors").write_bytes(b"damaged")
    (world.folder().checkpoints / ".step-00000030.partial").mkdir()
    assert not has_advanced(run, [1], began_from)
    world.checkpoint(11)
    assert has_advanced(run, [1], began_from)


def test_damaged_checkpoints_are_told_and_no_more_of_them_than_can_be_read(
    world: World,
) -> None:
    world.submit()
    world.tick()
    for step in range(10, 60, 10):
        (world.checkpoint(step) / "checkpoint.json").write_text("{}" if step > 10 else "{")
    point = resume_point(RunDirectory(world.folder().run), [1])
    assert point.checkpoint is None
    assert point.damaged is not None
    assert "attempts/0001/checkpoints/step-00000050 is damaged (checkpoint.json" in point.damaged
    assert "step-00000020" not in point.damaged
    assert point.damaged.endswith("; so are 2 more")


def test_what_is_not_there_is_nothing_and_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    none = RunDirectory(tmp_path / "none")
    assert read_spool(none.attempt(1)) == []
    assert resume_point(none, [1]) == ResumePoint(None, None)
    redirect(none.attempt(1), "http://here")
    assert not none.path.exists()
    # An attempt without a folder is one whose disk is away.
    with pytest.raises(FileNotFoundError):
        read_outcome(none.attempt(1))
    (tmp_path / "file").touch()
    file = RunDirectory(tmp_path / "file")
    for use in (
        lambda: read_outcome(file.attempt(1)),
        lambda: redirect(file.attempt(1), "http://here"),
        lambda: resume_point(file, [1]),
    ):
        with pytest.raises(NotADirectoryError):
            use()


def test_the_folder_of_an_attempt_that_is_deleted_meanwhile_is_not_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_then_lose(attempt: AttemptDirectory) -> AttemptOrder | None:
        order = order_of(attempt)
        shutil.rmtree(world.run_root / "a")
        return order

    world.submit()
    world.tick()
    monkeypatch.setattr("service.reconciling.attempt_files.order_of", read_then_lose)
    with pytest.raises(FileNotFoundError):
        redirect(world.folder(), "http://elsewhere")
    assert not (world.run_root / "a").exists()


def test_of_the_spool_is_taken_what_can_be_read(attempt: AttemptDirectory) -> None:
    lines = [event_of(number).model_dump_json().encode() for number in (1, 2)]
    attempt.events.write_bytes(b"\n".join([*lines, b'{"number": 3']))
    assert read_spool(attempt) == [event_of(1), event_of(2)]
    attempt.events.unlink()
    attempt.events.mkdir()
    assert read_spool(attempt) == []


def test_what_is_no_outcome_is_none(attempt: AttemptDirectory) -> None:
    assert read_outcome(attempt) is None
    attempt.outcome.write_text('{"outcome": "perhaps"}')
    assert read_outcome(attempt) is None
