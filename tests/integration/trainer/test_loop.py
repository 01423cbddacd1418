"""The loop on real shards, with a world around it that asks it to pause, cancel or give way."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.acceptance.product import ledger_lines
from tests.damaged_sets import damage
from tests.integration.trainer.attempts import World, attempt_of
from tests.integration.trainer.conftest import (
    NUM_VALIDATION_IMAGES,
    Shards,
    final_weights,
    write_job,
)
from tests.integration.trainer.replica_loops import NUM_REPLICAS, Dies, run_loops
from tests.ledgers import presented
from tests.waiting import wait_for
from trainer.attempt.setting import Ended, Ending
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint_folder import list_folders
from trainer.contract.events import (
    CheckpointSaved,
    Evaluated,
    Progress,
    SamplesSkipped,
    Started,
)
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import EvaluationSpec, JobSpec
from trainer.contract.status import Desired
from trainer.errors import BadDataError, BadSpecError, StaleAttemptError
from trainer.running.local import read_spec
from trainer.running.loop import Loop

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("settled")]

NUM_STEPS = 30


@pytest.fixture
def spec(shards: Shards, tmp_path: Path) -> JobSpec:
    return read_spec(
        write_job(tmp_path, shards, optim={"global_batch_size": 16, "max_steps": NUM_STEPS})
    )


def measured(world: World) -> list[Evaluated]:
    """Return what was measured, whatever time that took."""
    return [event.model_copy(update={"seconds": None}) for event in world.of(Evaluated)]


def test_pausing_changes_no_bit(spec: JobSpec, tmp_path: Path) -> None:
    undisturbed = World()
    assert attempt_of(spec, tmp_path / "one", undisturbed) == Ended("succeeded", NUM_STEPS)

    run_dir, world = tmp_path / "other", World()
    world.at = {8: lambda: Desired.PAUSE}
    assert attempt_of(spec, run_dir, world) == Ended("paused", 8)
    world = World()
    assert attempt_of(spec, run_dir, world) == Ended("succeeded", NUM_STEPS)
    assert [event.start_step for event in world.of(Started)] == [8]
    assert final_weights(run_dir) == final_weights(tmp_path / "one")
    ledger = presented(run_dir)
    assert (ledger.steps_done, ledger.steps_redone) == (NUM_STEPS, 0)
    # The end of the only whole epoch and the end of the job: both see the same network.
    assert measured(world) == measured(undisturbed)


def test_the_phases_of_a_step_are_its_wall_time(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.running.loop.PROGRESS_EVERY_S", 0.0)
    world = World()
    begun = time.perf_counter()
    attempt_of(spec, tmp_path / "run", world)
    wall_s = time.perf_counter() - begun
    told = [event.phase_seconds for event in world.of(Progress)]
    assert len(told) == NUM_STEPS
    computing = {"transfer", "forward", "exchange", "backward", "optimizer"}
    assert set(told[0]) == {"data_wait", *computing, "all_reduce", "other"}
    # After the only whole epoch; that at the end of the job is told by nobody.
    assert [step for step, phases in enumerate(told, 1) if "evaluation" in phases] == [27]
    assert [step for step, phases in enumerate(told, 1) if "checkpoint" in phases] == [11, 21, 27]
    assert sum(seconds for phases in told for seconds in phases.values()) < wall_s
    # The last step of an epoch has fewer images than 16; the rate leaves evaluation out.
    full = [event for event in world.of(Progress) if event.step % 26]
    by_rate_s = sum(16 / event.images_per_second for event in full)
    by_phase_s = sum(sum(event.phase_seconds.values()) for event in full)
    (evaluation_s,) = (phases["evaluation"] for phases in told if "evaluation" in phases)
    assert by_phase_s - evaluation_s == pytest.approx(by_rate_s, rel=0.1)
    assert evaluation_s == pytest.approx(world.of(Evaluated)[0].seconds, rel=0.1)


def test_what_it_trains_is_fed_and_saves_is_measured(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.running.loop.PROGRESS_EVERY_S", 0.0)
    run_dir, world = tmp_path / "run", World()
    began_s = time.monotonic()
    attempt_of(spec, run_dir, world)
    seen = {(one.name, *[*one.labels.values()][-1:]): one.value for one in world.metrics.series}
    took_s = time.monotonic() - began_s
    lines = ledger_lines(RunDirectory(run_dir).attempt(1).path)
    num_trained = sum(len(line["samples"]) for line in lines)
    assert seen["alexnet_train_samples_total", "0"] == num_trained
    assert seen["alexnet_train_step_seconds_count", "0"] == NUM_STEPS
    assert seen["alexnet_data_samples_total", "train"] == num_trained
    num_evaluated = len(world.of(Evaluated)) * NUM_VALIDATION_IMAGES
    assert seen["alexnet_data_samples_total", "validation"] == num_evaluated
    assert seen["alexnet_checkpoint_save_seconds_count",] == len(world.of(CheckpointSaved))
    assert seen["alexnet_checkpoint_save_seconds_sum",] > 0
    for stage in ("read", "decode", "augment", "collate"):
        assert seen["alexnet_data_stage_seconds_total", stage] > 0
    assert seen["alexnet_data_read_bytes_total", "local"] > 0
    told = [event.phase_seconds for event in world.of(Progress)]
    for phase in ("data_wait", "forward", "checkpoint", "evaluation"):
        total_s = sum(phases.get(phase, 0.0) for phases in told)
        # What came after the last report is counted too.
        assert seen["alexnet_train_phase_seconds_total", phase] >= total_s * (1 - 1e-6) > 0
    counted = [s for (name, *_), s in seen.items() if name == "alexnet_train_phase_seconds_total"]
    assert sum(counted) <= took_s


def test_checkpoints_at_intervals_ends_of_epochs_and_the_end(spec: JobSpec, tmp_path: Path) -> None:
    world = World()
    attempt_of(spec, tmp_path / "run", world)
    saved = world.of(CheckpointSaved)
    assert [event.step for event in saved] == [10, 20, 26, 30]
    assert [event.top1 is None for event in saved] == [True, True, False, False]


def test_cancel_ends_without_a_checkpoint_of_its_own(spec: JobSpec, tmp_path: Path) -> None:
    world = World()
    world.at = {4: lambda: Desired.CANCEL}
    assert attempt_of(spec, tmp_path / "run", world) == Ended("cancelled", 4)
    assert list_folders(RunDirectory(tmp_path / "run")) == []


@pytest.mark.parametrize(
    ("desired", "ending"), [(Desired.PAUSE, "paused"), (Desired.CANCEL, "cancelled")]
)
def test_the_last_measurement_ends_where_it_is_wanted(
    spec: JobSpec, tmp_path: Path, desired: Desired, ending: str
) -> None:
    ten_views = spec.model_copy(update={"evaluation": EvaluationSpec(protocol="ten_view")})
    run_dir, world = tmp_path / "run", World()
    # Once a step, and before the second batch of the last measurement.
    world.at = {NUM_STEPS + 2: lambda: desired}
    assert attempt_of(ten_views, run_dir, world) == Ended(ending, NUM_STEPS)  # type: ignore[arg-type]
    assert not RunDirectory(run_dir).report.exists()
    assert {event.protocol for event in world.of(Evaluated)} == {"centre_crop"}
    # Nothing is left to train; what was cut short is measured again.
    assert attempt_of(ten_views, run_dir, World()) == Ended("succeeded", NUM_STEPS)
    assert RunDirectory(run_dir).report.exists()


def test_an_attempt_that_was_overtaken_commits_nothing_more(spec: JobSpec, tmp_path: Path) -> None:
    run, world = RunDirectory(tmp_path / "run"), World()

    def overtake() -> Desired:
        # The thread that commits it may be behind by more than five steps.
        wait_for("step 10 to be told", lambda: world.of(CheckpointSaved), timeout_s=60)
        later = AttemptOrder(
            job_id="job", attempt=2, spec=spec, accelerator="cpu", resume_from=None
        )
        write_order(run.attempt(2), later)
        return Desired.RUN

    world.at = {15: overtake}
    with pytest.raises(StaleAttemptError, match="attempt 2 has begun"):
        attempt_of(spec, run.path, world)
    assert [event.step for event in world.of(CheckpointSaved)] == [10]
    assert [path.name for path in run.attempt(1).checkpoints.glob("step-*")] == ["step-00000010"]


def test_a_disowned_attempt_stops_at_its_next_step(spec: JobSpec, tmp_path: Path) -> None:
    world = World()
    with pytest.raises(StaleAttemptError, match="refused this attempt's events"):
        attempt_of(spec, tmp_path / "run", world, disowned=lambda: world.asked >= 5)
    assert presented(tmp_path / "run").steps_done == 5


def test_one_that_is_overtaken_at_its_end_writes_no_report(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, is_overtaken = Loop._end, False

    def overtake(loop: Loop, ending: Ending) -> Ended:
        nonlocal is_overtaken
        ended = end(loop, ending)
        is_overtaken = True
        return ended

    monkeypatch.setattr(Loop, "_end", overtake)
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(StaleAttemptError, match="the control plane refused its events"):
        attempt_of(spec, run.path, World(), disowned=lambda: is_overtaken)
    assert is_overtaken
    assert not run.report.exists()


@pytest.mark.parametrize("dies", ["write", "sync"])
def test_no_checkpoint_counts_a_step_that_a_replicas_ledger_lacks(
    shards: Shards, tmp_path: Path, dies: Dies
) -> None:
    spec = read_spec(
        write_job(
            tmp_path,
            shards,
            optim={"global_batch_size": 16, "max_steps": 12},
            scale={"replicas": NUM_REPLICAS, "cpus_per_replica": 1},
            checkpoint={"interval_steps": 5},
        )
    )
    run = RunDirectory(tmp_path / "run")
    attempt = run.attempt(1)
    order = AttemptOrder(job_id="job", attempt=1, spec=spec, accelerator="cpu", resume_from=None)
    write_order(attempt, order)
    assert run_loops(run.path, dies=dies, at_step=4) == [1, 1]
    # The first replica did all of the step before the checkpoint.
    assert [line["step"] for line in ledger_lines(attempt.path)] == [0, 1, 2, 3, 4]
    assert not list(attempt.checkpoints.glob("*"))


def test_what_death_left_of_a_checkpoint_is_gone_before_the_first_step(
    spec: JobSpec, tmp_path: Path
) -> None:
    run, world, left = RunDirectory(tmp_path / "run"), World(), []
    half = run.attempt(1).checkpoints / ".step-00000010.partial"
    half.mkdir(parents=True)

    def look() -> Desired:
        left.append(half.exists())
        return Desired.CANCEL

    world.at = {1: look}
    attempt_of(spec, run.path, world)
    assert left == [False]


def _with_validation(shards: Shards, tmp_path: Path, samples: Sequence[int], limit: int) -> JobSpec:
    """A job of two evaluations, at steps 26 and 30, with damaged validation images."""
    validation = damage(shards.validation, tmp_path / "damaged", samples)
    data = {"train": str(shards.train), "validation": str(validation)}
    optim = {"global_batch_size": 16, "max_steps": NUM_STEPS}
    return read_spec(
        write_job(tmp_path, shards, optim=optim, data={**data, "corrupt_sample_limit": limit})
    )


def test_corrupt_validation_samples_are_named_and_counted_once(
    shards: Shards, tmp_path: Path
) -> None:
    world = World()
    attempt_of(_with_validation(shards, tmp_path, (3, 7), limit=2), tmp_path / "run", world)
    evaluated = [event.num_samples for event in world.of(Evaluated)]
    assert evaluated == [NUM_VALIDATION_IMAGES - 2] * 2
    (skipped,) = world.of(SamplesSkipped)
    assert (skipped.step, skipped.total, len(skipped.samples)) == (26, 2, 2)
    assert all(name.startswith("validation-") for name in skipped.samples)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (1, "data.corrupt_sample_limit = 1"),
        (NUM_VALIDATION_IMAGES, "data.validation: none of its samples could be read"),
    ],
)
def test_too_many_corrupt_validation_samples_fail_by_name(
    shards: Shards, tmp_path: Path, limit: int, message: str
) -> None:
    world = World()
    spec = _with_validation(shards, tmp_path, range(NUM_VALIDATION_IMAGES), limit)
    with pytest.raises(BadDataError, match=message):
        attempt_of(spec, tmp_path / "run", world)
    # Of a pass that meets more than the limit no more are kept.
    told = min(limit + 1, NUM_VALIDATION_IMAGES)
    assert [event.total for event in world.of(SamplesSkipped)] == [told]
    assert world.of(Evaluated) == []


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
        attempt_of(read_spec(write_job(tmp_path, shards, data=data)), tmp_path / "run", World())
