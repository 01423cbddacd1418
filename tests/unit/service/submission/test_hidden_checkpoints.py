"""The checkpoints of private jobs, which nobody else may name, by whatever name."""

from pathlib import Path

import pytest
from sqlalchemy import update

from service.access.caller import Caller, Role
from service.store.store import Store
from service.store.tables import jobs
from service.submission.checkpoint_finder import CheckpointFinder, NoSuchCheckpointError
from tests.unit.service.conftest import job_in, make_spec
from tests.unit.service.world import World
from trainer.contract.attempt import AttemptOrder
from trainer.contract.order_file import write_order
from trainer.contract.status import Status


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


def finder(world: World, owner: str, role: Role = Role.SUBMITTER) -> CheckpointFinder:
    data = world.run_root.parent / "data"
    data.mkdir(exist_ok=True)
    # A root that has the run root in it, as the state directory has, opens no way around.
    roots = [data, world.run_root.parent]
    return CheckpointFinder(
        world.store, world.run_root, roots, seen_by=Caller(owner=owner, role=role)
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
    mine = world.run_root.parent / "data" / "mine"
    mine.mkdir(parents=True)
    hidden = world.folder().checkpoint(10)
    (mine / "checkpoint.json").write_bytes((hidden / "checkpoint.json").read_bytes())
    (mine / "model.safetensors").symlink_to(hidden / "model.safetensors")
    with pytest.raises(NoSuchCheckpointError, match="in no run directory"):
        finder(world, "bob").find(str(mine))


def test_a_folder_of_no_job_is_for_admins(world: World) -> None:
    inside = world.folder().checkpoint(10).relative_to(world.run_root / "a")
    left = (world.run_root / "a").rename(world.run_root / "left")
    name = str(left / inside)
    assert finder(world, "root", Role.ADMIN).find(name).manifest.step == 10
    with pytest.raises(NoSuchCheckpointError, match="in no run directory"):
        finder(world, "ann").find(name)
