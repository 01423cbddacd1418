import json
from pathlib import Path

import pytest

from service.store.store import Store
from service.submission.checkpoint_finder import CheckpointFinder, NoSuchCheckpointError
from tests.unit.service.conftest import job_in, make_spec
from tests.unit.service.world import World
from trainer.contract.attempt import AttemptOrder
from trainer.contract.order_file import write_order
from trainer.contract.status import Status


@pytest.fixture
def world(tmp_path: Path, store: Store) -> World:
    """A job `a` whose one attempt has checkpoints after 10 and 20 steps."""
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
def finder(world: World, tmp_path: Path) -> CheckpointFinder:
    return CheckpointFinder(world.store, world.run_root, [tmp_path / "data"])


def test_a_job_is_its_latest_checkpoint_or_that_after_a_step(
    finder: CheckpointFinder, world: World
) -> None:
    latest = finder.find("job:a")
    assert (latest.folder, latest.manifest.attempt) == (world.folder().checkpoint(20), 1)
    assert finder.find("job:a@20") == latest
    assert finder.find("job:a@10").folder == world.folder().checkpoint(10)


def test_what_a_later_attempt_trained_again_is_not_of_the_job(
    finder: CheckpointFinder, world: World
) -> None:
    # An attempt that the store does not know is none of the lineage.
    order = AttemptOrder(
        job_id="a",
        attempt=2,
        spec=make_spec(),
        accelerator="cpu",
        resume_from="attempts/0001/checkpoints/step-00000010",
    )
    write_order(world.folder(2), order)
    assert finder.find("job:a").folder == world.folder().checkpoint(20)


def test_a_folder_is_found_by_its_path_in_the_run_root_or_a_data_root(
    finder: CheckpointFinder, world: World, tmp_path: Path
) -> None:
    folder = world.folder().checkpoint(20)
    assert finder.find(str(folder)).folder == folder
    assert finder.find(str(folder / "checkpoint.json")).folder == folder
    assert finder.find("a/attempts/0001/checkpoints/step-00000020").folder == folder
    copy = tmp_path / "data" / "copy"
    copy.parent.mkdir()
    folder.rename(copy)
    assert finder.find("copy").folder == copy.resolve()


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("job:b", "there is no job 'b'"),
        ("job:a@15", "job a keeps no checkpoint after step 15, but after 10, 20"),
        ("job:a@", "write job:ID, job:ID@STEP or a folder"),
        ("job:../a", "write job:ID, job:ID@STEP or a folder"),
        ("s3://bucket/step-1", "is a URL"),
        ("/etc", "lies outside"),
        ("../../etc", "lies outside"),
        ("a", "checkpoint.json cannot be read"),
        ("a/nowhere", "cannot be read"),
        ("a/attempts/0001/order.json", "cannot be read"),
        ("\0", "is not a usable path"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_the_reason(
    finder: CheckpointFinder, location: str, problem: str
) -> None:
    with pytest.raises(NoSuchCheckpointError) as refused:
        finder.find(location)
    assert problem in str(refused.value)


def test_a_link_does_not_lead_out(finder: CheckpointFinder, world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "checkpoint.json").write_text("{}")
    for name, target in (("folder", outside), ("file", outside / "checkpoint.json")):
        (world.run_root / name).mkdir()
        link = world.run_root / name / ("checkpoint.json" if name == "file" else "link")
        link.symlink_to(target)
        with pytest.raises(NoSuchCheckpointError, match="lies outside"):
            finder.find(str(link.parent if name == "file" else link))


def test_weights_that_are_a_link_do_not_lead_out(
    finder: CheckpointFinder, world: World, tmp_path: Path
) -> None:
    folder = world.folder().checkpoint(20)
    weights = folder / "model.safetensors"
    beside = weights.rename(folder / "beside")
    weights.symlink_to(beside)
    assert finder.find(str(folder)).folder == folder
    weights.unlink()
    weights.symlink_to(beside.rename(tmp_path / "outside"))
    with pytest.raises(NoSuchCheckpointError, match="lies outside"):
        finder.find(str(folder))


def test_a_location_that_is_too_long_for_a_spec_once_links_are_followed_is_refused(
    finder: CheckpointFinder, world: World, tmp_path: Path
) -> None:
    deep = world.run_root.joinpath(*["d" * 200] * 5)
    deep.mkdir(parents=True)
    copy = world.folder().checkpoint(20).rename(deep / "step-00000020")
    link = world.run_root / "link"
    link.symlink_to(copy)
    with pytest.raises(NoSuchCheckpointError, match="is longer than 1,024 characters"):
        finder.find("link")


def test_a_job_without_a_checkpoint_says_how_it_stands(
    finder: CheckpointFinder, store: Store
) -> None:
    job_in(store, Status.QUEUED, "young")
    with pytest.raises(NoSuchCheckpointError, match="has no checkpoint yet, it is QUEUED"):
        finder.find("job:young")


def test_a_job_that_will_have_no_checkpoint_says_so(finder: CheckpointFinder, store: Store) -> None:
    job_in(store, Status.CANCELLED, "cancelled")
    with pytest.raises(NoSuchCheckpointError, match="is CANCELLED and has no checkpoint; name"):
        finder.find("job:cancelled")
    for spec in (
        make_spec(kind="evaluate", evaluation={"checkpoints": ["job:a"]}),
        make_spec(kind="calibrate"),
    ):
        job_in(store, Status.RUNNING, spec.kind, spec=spec)
        refused = f"is of kind {spec.kind} and has no checkpoints; name one that trains"
        with pytest.raises(NoSuchCheckpointError, match=refused):
            finder.find(f"job:{spec.kind}")


def test_a_manifest_that_is_not_ours_is_refused(finder: CheckpointFinder, world: World) -> None:
    file = world.folder().checkpoint(20) / "checkpoint.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"version": 99}))
    with pytest.raises(NoSuchCheckpointError, match="is not one of ours"):
        finder.find("job:a@20")
