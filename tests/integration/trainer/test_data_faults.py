"""What can go wrong with loaders and shards while a job trains, and what must hold after it."""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from data_shards.errors import DataError, ShardError, WorkerDiedError
from data_shards.manifest import load_manifest
from tests.damaged_sets import damage, overwrite
from tests.integration.trainer.attempts import World, attempt_of
from tests.integration.trainer.conftest import (
    NUM_TRAINING_IMAGES,
    Shards,
    final_weights,
    write_job,
)
from tests.ledgers import presented
from trainer.attempt.ledger import entries
from trainer.attempt.setting import Ended
from trainer.contract.attempt import RETRYABLE, Reason
from trainer.contract.events import SamplesSkipped, Started
from trainer.contract.report import TrainingReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired
from trainer.errors import BadDataError, reason_of
from trainer.running.local import read_spec
from trainer.running.replica import failure

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("settled")]

# One epoch of 401 images in batches of 16.
NUM_STEPS = 26


def spec_of(
    folder: Path, shards: Shards, *, train: Path | None = None, limit: int = 100
) -> JobSpec:
    """A job of one epoch."""
    folder.mkdir(exist_ok=True)
    data = {
        "train": str(train or shards.train),
        "validation": str(shards.validation),
        "corrupt_sample_limit": limit,
    }
    optim = {"global_batch_size": 16, "max_steps": NUM_STEPS}
    return read_spec(write_job(folder, shards, data=data, optim=optim))


@pytest.fixture(scope="module")
def undisturbed(settled: None, shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a run that nothing disturbed."""
    root = tmp_path_factory.mktemp("undisturbed")
    attempt_of(spec_of(root, shards), root / "run", World())
    return final_weights(root / "run")


def loaders() -> list[psutil.Process]:
    """Return the loader processes of this process: of the training set, then of validation."""
    children = psutil.Process().children()
    mine = [child for child in children if "data_shards.processes.worker" in child.cmdline()]
    return sorted(mine, key=lambda process: process.create_time())


@pytest.mark.parametrize(("loader", "of"), [(0, "training"), (1, "validation")])
def test_a_loader_that_is_killed_ends_the_attempt_and_changes_no_bit(
    shards: Shards, tmp_path: Path, undisturbed: str, loader: int, of: str
) -> None:
    spec, run_dir, world = spec_of(tmp_path / "job", shards), tmp_path / "run", World()

    def kill() -> Desired:
        assert len(loaders()) == 2
        loaders()[loader].kill()
        return Desired.RUN

    world.at = {14: kill}
    with pytest.raises(
        WorkerDiedError, match=r"^worker process \d+ ended by signal SIGKILL$"
    ) as ended:
        attempt_of(spec, run_dir, world)
    assert not loaders()
    outcome = failure(ended.value)
    assert outcome.reason is Reason.CRASHED
    assert outcome.reason in RETRYABLE
    assert outcome.message is not None
    assert "SIGKILL" in outcome.message

    world = World()
    assert attempt_of(spec, run_dir, world) == Ended("succeeded", NUM_STEPS)
    # The validation set is read at the end of the epoch, after the checkpoint at step 20.
    assert [event.start_step for event in world.of(Started)] == [10 if of == "training" else 20]
    assert final_weights(run_dir) == undisturbed
    ledger = presented(run_dir)
    assert Counter(ledger.epochs[0]) == Counter(range(NUM_TRAINING_IMAGES))
    assert ledger.steps_done == NUM_STEPS
    assert ledger.steps_redone > 0


def test_corrupt_samples_weigh_zero_whatever_their_bytes_and_are_named_with_the_reason(
    shards: Shards, tmp_path: Path
) -> None:
    corrupt = (5, 250, 399)
    half = damage(shards.train, tmp_path / "half", corrupt)
    other = overwrite(
        shards.train,
        tmp_path / "other",
        {5: b"GIF89a", 250: b"\xff\xd8\xff\xe0", 399: b"<html>not found</html>"},
    )
    reasons = {
        half: {"broken": 3},
        other: {"not_an_image": 2, "broken": 1},
    }
    weights = set()
    for manifest, by_reason in reasons.items():
        run_dir, world = tmp_path / f"run of {manifest.parent.name}", World()
        spec = spec_of(tmp_path / f"job of {manifest.parent.name}", shards, train=manifest)
        assert attempt_of(spec, run_dir, world) == Ended("succeeded", NUM_STEPS)
        weights.add(final_weights(run_dir))
        skipped = [each for entry in entries(run_dir) for each in entry.line.skipped]
        assert {each.sample for each in skipped} == set(corrupt)
        assert Counter(each.reason for each in skipped) == by_reason
        told = world.of(SamplesSkipped)
        assert sum((Counter(event.by_reason) for event in told), Counter()) == by_reason
        names = {name for event in told for name in event.samples}
        assert names == {each.name for each in skipped}
        assert Counter(presented(run_dir).epochs[0]) == Counter(
            set(range(NUM_TRAINING_IMAGES)) - set(corrupt)
        )
        report = TrainingReport.model_validate_json(RunDirectory(run_dir).report.read_bytes())
        assert report.skipped_by_reason == by_reason
        assert report.samples_skipped == 3
    # Nothing of their bytes is in the weights.
    assert len(weights) == 1


def test_validation_images_that_were_left_out_are_noted_in_the_report(
    shards: Shards, tmp_path: Path
) -> None:
    validation = damage(shards.validation, tmp_path / "validation", (1, 4))
    train = damage(shards.train, tmp_path / "train", (5,))
    spec = spec_of(tmp_path, shards, train=train)
    spec = spec.model_copy(
        update={"data": spec.data.model_copy(update={"validation": str(validation)})}
    )
    run_dir, world = tmp_path / "run", World()
    assert attempt_of(spec, run_dir, world) == Ended("succeeded", NUM_STEPS)
    report = TrainingReport.model_validate_json(RunDirectory(run_dir).report.read_bytes())
    assert report.notes[0] == (
        "2 validation images could not be read and were not measured: 2 broken."
    )
    assert report.notes[0] in RunDirectory(run_dir).report_markdown.read_text()
    # What training skipped is counted by itself.
    assert report.skipped_by_reason == {"broken": 1}
    assert [event.total for event in world.of(SamplesSkipped)] == [1, 3]


def test_more_than_the_limit_fail_by_the_name_of_the_worst_shard(
    shards: Shards, tmp_path: Path
) -> None:
    manifest = load_manifest(shards.train.parent)
    of_first, of_second = manifest.shards[0].num_samples, manifest.shards[1].name
    corrupt = (3, *range(of_first, of_first + 5))
    train = damage(shards.train, tmp_path / "damaged", corrupt)
    world = World()
    with pytest.raises(BadDataError) as error:
        attempt_of(spec_of(tmp_path, shards, train=train, limit=5), tmp_path / "run", world)
    message = str(error.value)
    assert "6 samples could not be read, more than data.corrupt_sample_limit = 5" in message
    assert f"most of them, 5, in {of_second}" in message
    assert reason_of(error.value) is Reason.BAD_DATA
    assert world.of(SamplesSkipped)[-1].total == 6


def truncate(shard: Path) -> None:
    shard.chmod(0o600)
    os.truncate(shard, shard.stat().st_size // 2)


def unlink(shard: Path) -> None:
    shard.unlink()


@pytest.mark.parametrize("harm", [truncate, unlink])
def test_a_shard_that_is_cut_short_or_missing_fails_the_job_by_its_name(
    shards: Shards, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    folder = tmp_path / "train"
    shutil.copytree(shards.train.parent, folder)
    shard = folder / load_manifest(folder).shards[-1].name
    harm(shard)
    spec = spec_of(tmp_path, shards, train=folder / "manifest.json")
    with pytest.raises(DataError, match=shard.name) as error:
        attempt_of(spec, tmp_path / "run", World())
    assert reason_of(error.value) is Reason.BAD_DATA
    assert reason_of(error.value) not in RETRYABLE


@pytest.mark.parametrize("is_in_the_map", [False, True])
def test_a_shard_that_is_cut_short_while_it_is_read_fails_the_job_by_its_name(
    shards: Shards, tmp_path: Path, is_in_the_map: bool
) -> None:
    folder = tmp_path / "train"
    shutil.copytree(shards.train.parent, folder)
    shard = folder / load_manifest(folder).shards[0].name
    spec = spec_of(tmp_path, shards, train=folder / "manifest.json")
    world = World()

    def cut() -> Desired:
        if is_in_the_map:
            # As a page beyond the end does; first, for a loader may look at the size in time.
            loaders()[0].send_signal(signal.SIGBUS)
        shard.chmod(0o600)
        os.truncate(shard, 700)
        return Desired.RUN

    world.at = {8: cut}
    said = "was cut short to 700 bytes" if is_in_the_map else "ends before byte|was cut short"
    with pytest.raises(ShardError, match=rf"{shard.name}: ({said})") as error:
        attempt_of(spec, tmp_path / "run", world)
    assert not loaders()
    assert reason_of(error.value) is Reason.BAD_DATA
    assert reason_of(error.value) not in RETRYABLE
