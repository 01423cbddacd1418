"""The checkpoints of private jobs, which nobody else may name, by whatever name."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import update

from service.access.caller import Caller, Ownership, Role, may_name
from service.store.store import Store
from service.store.tables import jobs
from service.submission.checkpoint_finder import CheckpointFinder, NoSuchCheckpointError
from tests.unit.service.conftest import job_in, make_spec
from tests.unit.service.world import World
from trainer.contract.attempt import AttemptOrder
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import Status

HIDDEN = Ownership(owner="ann", private=True)


@pytest.fixture
def world(tmp_path: Path, store: Store) -> World:
    """A private job `a` of ann with a checkpoint after 10 steps."""
    world = World(tmp_path.resolve(), store)
    job_in(store, Status.RUNNING, "a")
    store.write(
        lambda connection: connection.execute(update(jobs).values(owner="ann", private=True))
    )
    order = AttemptOrder(
        job_id="a", attempt=1, spec=make_spec(), accelerator="cpu", resume_from=None
    )
    write_order(world.folder(), order)
    world.checkpoint(10)
    return world


def finder(
    world: World, owner: str, role: Role = Role.SUBMITTER, for_job: Ownership | None = None
) -> CheckpointFinder:
    """Return that of a request; `for_job` None: for one that nobody sees who does not see `a`."""
    data = world.run_root.parent / "data"
    data.mkdir(exist_ok=True)
    return CheckpointFinder(
        world.store,
        world.run_root,
        # A root that has the run root in it, as the state directory has, opens no way around.
        [data, world.run_root.parent],
        seen_by=Caller(owner=owner, role=role),
        for_job=for_job or HIDDEN,
    )


def names_of(world: World) -> list[str]:
    folder = world.folder().checkpoint(10)
    link = world.run_root.parent / "data" / "link"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(folder)
    return [
        "job:a",
        "job:a@10",
        str(folder),
        str(folder / "checkpoint.json"),
        str(folder.relative_to(world.run_root)),
        str(world.run_root / "a" / ".." / "a" / folder.relative_to(world.run_root / "a")),
        str(link),
    ]


def test_its_owner_and_admins_find_it_by_every_name(world: World) -> None:
    for name in names_of(world):
        for found in (
            finder(world, "ann").find(name),
            finder(world, "root", Role.ADMIN).find(name),
        ):
            assert found.manifest.step == 10


def test_nobody_else_finds_it_by_any(world: World) -> None:
    for name in names_of(world):
        with pytest.raises(NoSuchCheckpointError) as refused:
            finder(world, "bob").find(name)
        assert str(refused.value) in {
            "there is no job 'a'",
            f"{name!r} lies in no run directory of a job that you may see",
        }


def test_weights_that_are_linked_into_a_folder_of_ones_own_are_not_found_either(
    world: World,
) -> None:
    mine = linked(world)
    with pytest.raises(NoSuchCheckpointError, match="in no run directory"):
        finder(world, "bob").find(str(mine))


def linked(world: World) -> Path:
    """Return a folder of ann's, outside the run root, whose weights are those of her job."""
    mine = world.run_root.parent / "data" / "mine"
    mine.mkdir(parents=True)
    hidden = world.folder().checkpoint(10)
    (mine / "checkpoint.json").write_bytes((hidden / "checkpoint.json").read_bytes())
    (mine / "model.safetensors").symlink_to(hidden / "model.safetensors")
    return mine


@pytest.mark.parametrize("role", [Role.SUBMITTER, Role.ADMIN])
@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("owner", ["ann", "bob", "root"])
def test_a_job_that_others_see_names_it_by_none(
    world: World, owner: str, role: Role, *, private: bool
) -> None:
    for_job = Ownership(owner=owner, private=private)
    found = finder(world, owner, role, for_job)
    names = [str(linked(world)), *names_of(world)]
    for name in names:
        if may_name(for_job, HIDDEN):
            assert found.find(name).manifest.step == 10
            continue
        with pytest.raises(NoSuchCheckpointError) as refused:
            found.find(name)
        if owner == "ann":
            assert "set private: true" in str(refused.value)
        elif role is Role.ADMIN:
            assert "have its owner submit this one" in str(refused.value)


def test_what_a_job_holds_is_its_own(world: World) -> None:
    run = RunDirectory(world.run_root / "b")
    job_in(world.store, Status.QUEUED, "b")
    world.store.write(
        lambda connection: connection.execute(
            update(jobs).where(jobs.c.id == "b").values(owner="ann", private=True)
        )
    )
    held = run.inputs / "c" / "step-00000010"
    shutil.copytree(world.folder().checkpoint(10), held)
    assert finder(world, "ann").find(str(held)).folder == held
    with pytest.raises(NoSuchCheckpointError, match=r"job b is private, .*; set private: true"):
        finder(world, "ann", for_job=Ownership(owner="ann")).find(str(held))


def test_a_folder_of_no_job_is_for_admins(world: World) -> None:
    inside = world.folder().checkpoint(10).relative_to(world.run_root / "a")
    left = (world.run_root / "a").rename(world.run_root / "left")
    name = str(left / inside)
    assert finder(world, "root", Role.ADMIN).find(name).manifest.step == 10
    with pytest.raises(NoSuchCheckpointError, match="in no run directory"):
        finder(world, "ann").find(name)
