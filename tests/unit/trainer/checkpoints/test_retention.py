from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.runs import add_attempt, add_checkpoint, manifest_of
from trainer.checkpoints.retention import clear_leftovers, kept, prune
from trainer.contract.checkpoint_folder import Checkpoint, list_folders
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckpointSpec

top1s = st.one_of(st.none(), st.floats(0, 1))


def _checkpoints(latest_first: list[float | None]) -> list[Checkpoint]:
    steps = range(len(latest_first), 0, -1)
    return [
        Checkpoint(Path(f"step-{step:08d}"), manifest_of(step, top1=top1))
        for step, top1 in zip(steps, latest_first, strict=True)
    ]


def _steps(folders: set[Path]) -> list[int]:
    return sorted(int(folder.name[5:]) for folder in folders)


def test_the_latest_and_the_best_are_kept() -> None:
    checkpoints = _checkpoints([0.5, 0.6, 0.4, 0.9, None, 0.9])
    assert _steps(kept(checkpoints, CheckpointSpec(keep_last=2), None)) == [3, 5, 6]
    assert _steps(kept(checkpoints, CheckpointSpec(keep_last=2, keep_best=False), None)) == [5, 6]


@given(
    latest_first=st.lists(top1s, min_size=1, max_size=12),
    keep_last=st.integers(1, 5),
    keep_best=st.booleans(),
    data=st.data(),
)
def test_never_the_latest_nor_the_one_resumed_from_goes(
    latest_first: list[float | None], keep_last: int, keep_best: bool, data: st.DataObject
) -> None:
    checkpoints = _checkpoints(latest_first)
    resumed_from = data.draw(st.sampled_from(checkpoints)).folder
    spec = CheckpointSpec(keep_last=keep_last, keep_best=keep_best)
    folders = kept(checkpoints, spec, resumed_from)
    assert {checkpoint.folder for checkpoint in checkpoints[:keep_last]} <= folders
    assert resumed_from in folders
    assert len(folders) <= keep_last + keep_best + 1


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_prune_deletes_over_attempts_but_not_where_this_one_began(run: RunDirectory) -> None:
    first = add_attempt(run)
    folders = [add_checkpoint(first, step) for step in (1, 2, 3)]
    second = add_attempt(run, resume_from=folders[2])
    later = [add_checkpoint(second, step) for step in (4, 5)]
    prune(run, CheckpointSpec(keep_last=1), resumed_from=folders[2])
    assert list_folders(run) == [later[1], folders[2]]
    assert not any(folder.exists() for folder in (*folders[:2], later[0]))


@pytest.mark.parametrize(
    "clear", [clear_leftovers, lambda run: prune(run, CheckpointSpec(), resumed_from=None)]
)
def test_what_death_left_half_done_is_cleared(
    run: RunDirectory, clear: Callable[[RunDirectory], None]
) -> None:
    attempt = add_attempt(run)
    whole = add_checkpoint(attempt, 1)
    for name in (".step-00000002.partial", ".step-00000000.deleted"):
        (attempt.checkpoints / name).mkdir()
        (attempt.checkpoints / name / "model.safetensors").write_bytes(b"half")
    clear(run)
    assert list(attempt.checkpoints.iterdir()) == [whole]


def test_prune_leaves_a_damaged_one_as_evidence(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    damaged, *_, last = [add_checkpoint(attempt, step) for step in (1, 2, 3)]
    (damaged / "checkpoint.json").write_text("{")
    prune(run, CheckpointSpec(keep_last=1), resumed_from=None)
    assert list_folders(run) == [last, damaged]
