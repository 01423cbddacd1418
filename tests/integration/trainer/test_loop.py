"""The loop on real shards, with a world around it that asks it to pause, cancel or give way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.trainer.conftest import Shards, final_weights, write_job
from trainer import machine
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint_folder import list_folders
from trainer.contract.events import AttemptEventData, CheckpointSaved, Evaluated, Started
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired
from trainer.errors import BadSpecError, StaleAttemptError
from trainer.fence import Fence
from trainer.ledger import committed_ledger
from trainer.local import read_spec
from trainer.loop import Ended, Setting, train
from trainer.replicas import Replicas

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
NUM_STEPS = 30


@pytest.fixture(autouse=True)
def settled() -> None:
    machine.settle((CPU, CPU), num_threads=1)


@pytest.fixture
def spec(shards: Shards, tmp_path: Path) -> JobSpec:
    return read_spec(
        write_job(tmp_path, shards, optim={"global_batch_size": 16, "max_steps": NUM_STEPS})
    )


class World:
    """What an attempt tells, and what it is told after a number of steps."""

    def __init__(self) -> None:
        self.events: list[AttemptEventData] = []
        self.asked = 0
        self.at: dict[int, Callable[[], Desired]] = {}

    def desired(self) -> Desired:
        self.asked += 1
        return self.at.get(self.asked, lambda: Desired.RUN)()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def _attempt(
    spec: JobSpec, run_dir: Path, world: World, *, disowned: Callable[[], bool] = lambda: False
) -> Ended:
    """Run the next attempt, from the latest checkpoint if there is one."""
    run = RunDirectory(run_dir)
    folders = list_folders(run)
    attempt = run.attempt(run.newest_attempt() + 1)
    order = AttemptOrder(
        job_id="job",
        attempt=attempt.number,
        spec=spec,
        accelerator="cpu",
        resume_from=str(folders[0].relative_to(run_dir)) if folders else None,
    )
    write_order(attempt, order)
    return train(
        Setting(
            order=order,
            attempt=attempt,
            replicas=Replicas(CPU),
            devices=(CPU, CPU),
            pid=1,
            gpu_ids=(),
            report=world.events.append,
            desired=world.desired,
            disowned=disowned,
            fence=Fence(attempt, disowned=disowned),
        )
    )


def test_pausing_changes_no_bit(spec: JobSpec, tmp_path: Path) -> None:
    undisturbed = World()
    assert _attempt(spec, tmp_path / "one", undisturbed) == Ended("succeeded", NUM_STEPS)

    run_dir, world = tmp_path / "other", World()
    world.at = {8: lambda: Desired.PAUSE}
    assert _attempt(spec, run_dir, world) == Ended("paused", 8)
    world = World()
    assert _attempt(spec, run_dir, world) == Ended("succeeded", NUM_STEPS)
    assert [event.start_step for event in world.of(Started)] == [8]
    assert final_weights(run_dir) == final_weights(tmp_path / "one")
    ledger = committed_ledger(run_dir)
    assert (ledger.steps_done, ledger.steps_redone) == (NUM_STEPS, 0)
    # The end of the only whole epoch and the end of the job: both see the same network.
    assert world.of(Evaluated) == undisturbed.of(Evaluated)


def test_checkpoints_at_intervals_ends_of_epochs_and_the_end(spec: JobSpec, tmp_path: Path) -> None:
    world = World()
    _attempt(spec, tmp_path / "run", world)
    saved = world.of(CheckpointSaved)
    assert [event.step for event in saved] == [10, 20, 26, 30]
    assert [event.top1 is None for event in saved] == [True, True, False, False]


def test_cancel_ends_without_a_checkpoint_of_its_own(spec: JobSpec, tmp_path: Path) -> None:
    world = World()
    world.at = {4: lambda: Desired.CANCEL}
    assert _attempt(spec, tmp_path / "run", world) == Ended("cancelled", 4)
    assert list_folders(RunDirectory(tmp_path / "run")) == []


def test_an_attempt_that_was_overtaken_commits_nothing_more(spec: JobSpec, tmp_path: Path) -> None:
    run, world = RunDirectory(tmp_path / "run"), World()

    def overtake() -> Desired:
        run.attempt(2).path.mkdir()
        return Desired.RUN

    world.at = {15: overtake}
    with pytest.raises(StaleAttemptError, match="attempt 2 has begun"):
        _attempt(spec, run.path, world)
    assert [event.step for event in world.of(CheckpointSaved)] == [10]
    assert [path.name for path in run.attempt(1).checkpoints.glob("step-*")] == ["step-00000010"]


def test_a_disowned_attempt_stops_at_its_next_step(spec: JobSpec, tmp_path: Path) -> None:
    world = World()
    with pytest.raises(StaleAttemptError, match="refused this attempt's events"):
        _attempt(spec, tmp_path / "run", world, disowned=lambda: world.asked >= 5)
    assert committed_ledger(tmp_path / "run").steps_done == 5


def test_validation_of_other_images_is_refused(shards: Shards, tmp_path: Path) -> None:
    train_manifest = str(shards.train)
    text = shards.validation.read_text()
    other = tmp_path / "validation"
    other.mkdir()
    for file in shards.validation.parent.iterdir():
        (other / file.name).symlink_to(file)
    (other / "manifest.json").unlink()
    (other / "manifest.json").write_text(text.replace("class-3", "class-x"))
    data = {"train": train_manifest, "validation": str(other / "manifest.json")}
    with pytest.raises(BadSpecError, match=r"data\.validation: its classes are not those"):
        _attempt(read_spec(write_job(tmp_path, shards, data=data)), tmp_path / "run", World())
