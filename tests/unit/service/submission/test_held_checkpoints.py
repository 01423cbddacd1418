import errno
import os
import shutil
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from service.problems import SpecRefusedError
from service.store.store import Store
from service.submission.checkpoint_finder import CheckpointFinder
from service.submission.held_checkpoints import NotHeldError, holding
from tests.unit.service.conftest import job_in, make_spec
from tests.unit.service.world import World
from trainer.checkpoints.retention import prune
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint import WEIGHTS_NAME
from trainer.contract.checkpoint_folder import verify
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckpointSpec, JobSpec
from trainer.contract.status import Status

FILES = ["checkpoint.json", "model.safetensors"]


@pytest.fixture
def world(tmp_path: Path, store: Store) -> World:
    """A job `a` that trains, with checkpoints after 10 and 20 steps."""
    world = World(tmp_path.resolve(), store)
    job_in(store, Status.RUNNING, "a")
    order = AttemptOrder(
        job_id="a", attempt=1, spec=make_spec(), accelerator="cpu", resume_from=None
    )
    write_order(world.folder(), order)
    for step in (10, 20):
        world.checkpoint(step)
    return world


@pytest.fixture
def run(world: World) -> RunDirectory:
    """The run directory of a job to come."""
    return RunDirectory(world.run_root / "new")


def _evaluation(*folders: Path) -> JobSpec:
    named = {"checkpoints": [str(folder) for folder in folders]}
    return make_spec(kind="evaluate", evaluation=named)


def _held(spec: JobSpec, run: RunDirectory) -> list[Path]:
    with holding(spec, run) as held:
        return [Path(location) for location in held.evaluation.checkpoints]


def _train_on(world: World) -> None:
    """Have the job of the checkpoints delete all but its latest."""
    world.checkpoint(30)
    prune(RunDirectory(world.run_root / "a").attempt(1), CheckpointSpec(keep_last=1), None)
    assert [folder.name for folder in world.folder().checkpoints.iterdir()] == ["step-00000030"]


def test_what_is_held_outlives_what_its_job_deletes(world: World, run: RunDirectory) -> None:
    source = world.folder().checkpoint(10)
    (folder,) = _held(_evaluation(source), run)
    # The path says whose it is, and of which step.
    assert folder == run.path / "inputs/a/attempts/0001/checkpoints/step-00000010"
    assert sorted(file.name for file in folder.iterdir()) == FILES
    assert all((folder / name).samefile(source / name) for name in FILES)
    _train_on(world)
    manifest = verify(folder, (WEIGHTS_NAME,))
    assert (manifest.job_id, manifest.step) == ("a", 10)


def test_what_is_held_is_neither_a_checkpoint_of_its_job_nor_a_leftover(
    world: World, run: RunDirectory
) -> None:
    (folder,) = _held(_evaluation(world.folder().checkpoint(10)), run)
    order = AttemptOrder(
        job_id="new", attempt=1, spec=make_spec(), accelerator="cpu", resume_from=None
    )
    write_order(run.attempt(1), order)
    own = [world.checkpoint(step, job_id="new") for step in (1, 2)]
    prune(run.attempt(run.newest_attempt()), CheckpointSpec(keep_last=1), None)
    assert [one.exists() for one in own] == [False, True]
    assert verify(folder, (WEIGHTS_NAME,)).step == 10
    assert [entry.name for entry in run.path.glob(".*")] == []


def test_fine_tuning_holds_where_it_begins(world: World, run: RunDirectory) -> None:
    source = world.folder().checkpoint(20)
    spec = make_spec(init_from={"checkpoint": str(source), "new_layers": ["fc8"]})
    with holding(spec, run) as held:
        assert held.init_from is not None
        assert Path(held.init_from.checkpoint).parent.is_relative_to(run.inputs)
        assert held.init_from.new_layers == ("fc8",)
        assert held.sha256() == spec.sha256()


def test_an_ensemble_is_held_each_once(world: World, run: RunDirectory) -> None:
    ten, twenty = (world.folder().checkpoint(step) for step in (10, 20))
    held = _held(_evaluation(ten, twenty, ten), run)
    assert [verify(folder, (WEIGHTS_NAME,)).step for folder in held] == [10, 20, 10]
    assert (ten / WEIGHTS_NAME).stat().st_nlink == 2


def test_of_folders_one_in_the_other_both_are_held(world: World, run: RunDirectory) -> None:
    outer = world.folder().checkpoint(20)
    inner = world.folder().checkpoint(10).rename(outer / "inner")
    held = _held(_evaluation(inner, outer), run)
    assert [verify(folder, (WEIGHTS_NAME,)).step for folder in held] == [10, 20]


def test_what_is_held_is_held_again_for_another_job(world: World, run: RunDirectory) -> None:
    (first,) = _held(_evaluation(world.folder().checkpoint(10)), run)
    (second,) = _held(_evaluation(first), RunDirectory(world.run_root / "newer"))
    shutil.rmtree(run.path)
    assert verify(second, (WEIGHTS_NAME,)).step == 10


def _cannot_link(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(target: Path, _source: Path) -> None:
        raise OSError(number, os.strerror(number), str(target))

    monkeypatch.setattr(Path, "hardlink_to", refuse)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_where_no_link_can_be_made_a_copy_is(
    monkeypatch: pytest.MonkeyPatch, world: World, run: RunDirectory, number: int
) -> None:
    _cannot_link(monkeypatch, number)
    source = world.folder().checkpoint(10)
    (folder,) = _held(_evaluation(source), run)
    assert not any((folder / name).samefile(source / name) for name in FILES)
    _train_on(world)
    assert verify(folder, (WEIGHTS_NAME,)).step == 10


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_cannot_be_used_is_told_and_nothing_stays(
    monkeypatch: pytest.MonkeyPatch, world: World, run: RunDirectory, number: int
) -> None:
    _cannot_link(monkeypatch, number)
    with pytest.raises(NotHeldError, match=os.strerror(number)):
        _held(_evaluation(world.folder().checkpoint(10)), run)
    assert not run.path.exists()


def test_a_disk_that_fills_while_it_is_copied_to_is_told_and_nothing_stays(
    monkeypatch: pytest.MonkeyPatch, world: World, run: RunDirectory
) -> None:
    def fill(_source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _cannot_link(monkeypatch, errno.EXDEV)
    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(NotHeldError, match=r"safetensors cannot be written: .*; free space there"):
        _held(_evaluation(world.folder().checkpoint(10)), run)
    assert not run.path.exists()


def test_a_checkpoint_outside_the_run_root_is_left_where_it_is(
    world: World, run: RunDirectory, tmp_path: Path
) -> None:
    outside = world.folder().checkpoint(10).rename(tmp_path / "mine")
    inside = world.folder().checkpoint(20)
    assert _held(_evaluation(outside), run) == [outside]
    assert not run.path.exists()
    left, held = _held(_evaluation(outside, inside), run)
    assert left == outside
    assert held.is_relative_to(run.inputs)
    assert (outside / WEIGHTS_NAME).stat().st_nlink == 1


@pytest.mark.parametrize("missing", ["step-00000010", *(f"step-00000010/{one}" for one in FILES)])
def test_what_is_deleted_meanwhile_is_refused_by_its_fields_and_nothing_stays(
    world: World, run: RunDirectory, missing: str
) -> None:
    gone = world.folder().checkpoints / missing
    gone.rename(world.run_root / "aside")
    ten, twenty = (world.folder().checkpoint(step) for step in (10, 20))
    with pytest.raises(SpecRefusedError) as refused:
        _held(_evaluation(ten, twenty, ten), run)
    assert [error.field for error in refused.value.errors] == [
        "evaluation.checkpoints.0",
        "evaluation.checkpoints.2",
    ]
    assert f"{ten} is gone" in refused.value.errors[0].message
    assert not run.path.exists()


def test_a_job_that_is_not_stored_holds_nothing(world: World, run: RunDirectory) -> None:
    source = world.folder().checkpoint(10)

    def store() -> None:
        with holding(_evaluation(source), run):
            assert run.inputs.is_dir()
            raise RuntimeError("the store is locked")

    with pytest.raises(RuntimeError, match="locked"):
        store()
    assert not run.path.exists()
    assert (source / WEIGHTS_NAME).stat().st_nlink == 1


def test_what_a_job_that_may_be_stored_needs_stays(world: World, run: RunDirectory) -> None:
    def store() -> None:
        with holding(_evaluation(world.folder().checkpoint(10)), run):
            # The answer to the commit was lost, and not the commit.
            gone = Exception("the connection is gone")
            raise OperationalError("COMMIT", None, gone, connection_invalidated=True)

    with pytest.raises(OperationalError):
        store()
    assert run.inputs.is_dir()


def test_the_run_directory_of_another_is_left_alone(world: World, run: RunDirectory) -> None:
    run.path.mkdir()
    with pytest.raises(NotHeldError, match="File exists"):
        _held(_evaluation(world.folder().checkpoint(10)), run)
    assert run.path.is_dir()


def test_a_run_directory_that_was_moved_to_another_disk_is_held_from_there(
    world: World, run: RunDirectory, tmp_path: Path
) -> None:
    moved = (world.run_root / "a").rename(tmp_path / "elsewhere")
    (world.run_root / "a").symlink_to(moved)
    found = CheckpointFinder(world.store, world.run_root, []).find("job:a@10")
    (folder,) = _held(_evaluation(found.folder), run)
    _train_on(world)
    assert verify(folder, (WEIGHTS_NAME,)).step == 10


def test_of_a_symbolic_link_it_is_the_file_that_is_held(world: World, run: RunDirectory) -> None:
    source = world.folder().checkpoint(10)
    target = (source / WEIGHTS_NAME).rename(world.run_root / "weights")
    (source / WEIGHTS_NAME).symlink_to(target)
    (folder,) = _held(_evaluation(source), run)
    target.unlink()
    assert verify(folder, (WEIGHTS_NAME,)).step == 10


def test_a_path_that_would_be_too_long_for_a_spec_is_refused(
    world: World, run: RunDirectory
) -> None:
    length = 1020 - len(str(world.run_root))
    deep = world.run_root.joinpath(*["d" * 99] * (length // 100), "e" * (length % 100))
    deep.parent.mkdir(parents=True)
    source = world.folder().checkpoint(10).rename(deep)
    with pytest.raises(SpecRefusedError, match="longer than 1,024 characters; move it"):
        _held(_evaluation(source), run)
    assert not run.path.exists()
