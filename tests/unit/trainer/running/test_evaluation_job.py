import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from data_shards.manifest import load_manifest
from tests.damaged_sets import damage
from tests.unit.trainer.running.packed import NUM_IMAGES, pack_pictures
from trainer.attempt.fence import Fence
from trainer.attempt.setting import Ended, Ending, Setting
from trainer.attempt.watchdog import Feed, Watchdog
from trainer.checkpoints.checkpoint import take_snapshot, write_checkpoint
from trainer.contract.attempt import AttemptOrder, Reason
from trainer.contract.checkpoint import (
    VELOCITY_NAME,
    CheckpointManifest,
    DataDigests,
    ScheduleState,
)
from trainer.contract.checkpoint_folder import OtherDataError, OtherSpecError, measure
from trainer.contract.events import (
    AttemptEventData,
    Evaluated,
    Progress,
    SamplesSkipped,
    Started,
)
from trainer.contract.model_spec import ModelSpec
from trainer.contract.order_file import write_order
from trainer.contract.report import EvaluationReport, parse_report
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired
from trainer.devices.replicas import Replicas
from trainer.errors import BadDataError, BadSpecError, StaleAttemptError, reason_of
from trainer.network.alexnet import AlexNet
from trainer.network.initialise import initialise
from trainer.running.evaluation_job import evaluate_checkpoints

T = TypeVar("T")

CPU = torch.device("cpu")
BATCH_SIZE = 16
NUM_STEPS = -(-NUM_IMAGES // BATCH_SIZE)

Save = Callable[..., Path]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_pictures(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def save(tmp_path: Path, shards: Path, small_model: Callable[..., ModelSpec]) -> Save:
    """Writes the checkpoint of a network that has just been drawn; returns its folder."""

    def write(name: str, *, seed: int = 0, break_it: bool = False, **changes: Any) -> Path:
        model = small_model(**{"num_classes": 2} | changes)
        network = AlexNet(model, [CPU, CPU])
        initialise(network, model, seed=seed)
        weights = {key: tensor.detach() for key, tensor in network.named_parameters()}
        if break_it:
            # Finite, or no checkpoint would be written; what it computes is not.
            weights["towers.0.fc6.weight"].fill_(3e38)
        digest = load_manifest(shards).content_sha256()
        manifest = CheckpointManifest(
            job_id=name,
            attempt=1,
            step=seed,
            epoch=1.0,
            schedule=ScheduleState(),
            top1=None,
            top5=None,
            spec_sha256="0" * 64,
            model=model,
            data_sha256=DataDigests(train=digest, validation=digest),
            numerics={},
            files={},
        )
        snapshot = take_snapshot(manifest, weights, {})
        write_checkpoint(snapshot, tmp_path / name, check_fence=lambda: None)
        return tmp_path / name

    return write


class World:
    """What an evaluation tells, and what it is told after a number of steps."""

    def __init__(self, at: dict[int, Desired] | None = None, *, disowned: bool = False) -> None:
        self.events: list[AttemptEventData] = []
        self.disowned = disowned
        self._at = at or {}
        self._asked = 0

    def desired(self) -> Desired:
        self._asked += 1
        return self._at.get(self._asked, Desired.RUN)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def _spec(shards: Path, *checkpoints: object, train: Path | None = None, **model: Any) -> JobSpec:
    evaluation = {"protocol": "ten_view", "checkpoints": [str(one) for one in checkpoints]}
    return JobSpec.model_validate(
        {
            "name": "evaluation",
            "kind": "evaluate",
            "data": {"train": str(train or shards), "validation": str(shards)},
            "optim": {"global_batch_size": BATCH_SIZE},
            "evaluation": evaluation,
            # Of no meaning beside checkpoints that tell their own.
            "model": model,
        }
    )


def _run(spec: JobSpec, run: RunDirectory, world: World, watchdog: Watchdog | None = None) -> Ended:
    attempt = run.attempt(run.newest_attempt() + 1)
    order = AttemptOrder(
        job_id="job", attempt=attempt.number, spec=spec, accelerator="cpu", resume_from=None
    )
    write_order(attempt, order)
    return evaluate_checkpoints(
        Setting(
            order=order,
            attempt=attempt,
            replicas=Replicas(CPU),
            devices=(CPU, CPU),
            pid=7,
            gpu_ids=(),
            report=world.events.append,
            desired=world.desired,
            disowned=lambda: world.disowned,
            fence=Fence(attempt, disowned=lambda: world.disowned),
            watchdog=watchdog or Watchdog(),
        )
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def _report(run: RunDirectory) -> EvaluationReport:
    report = parse_report(run.report.read_bytes())
    assert isinstance(report, EvaluationReport)
    return report


def test_an_ensemble_is_measured_in_one_pass_and_reported(
    shards: Path, save: Save, run: RunDirectory
) -> None:
    folders = [save("plain", seed=1), save("starred", seed=2, sixth_conv=True, width=0.25)]
    world = World()
    assert _run(_spec(shards, *folders), run, world) == Ended("succeeded", NUM_STEPS)
    (started,) = world.of(Started)
    assert (started.start_step, started.planned_steps, started.worker_pids) == (0, NUM_STEPS, (7,))
    last = world.of(Progress)[-1]
    assert (last.step, last.epoch, last.learning_rate) == (NUM_STEPS, 1.0, 0.0)
    (evaluated,) = world.of(Evaluated)
    report = _report(run)
    assert evaluated.num_samples == report.validation_samples == NUM_IMAGES
    assert (evaluated.protocol, evaluated.loss) == ("ten_view", report.validation_loss)
    assert [network.checkpoint for network in report.networks] == list(map(str, folders))
    assert [network.step for network in report.networks] == [1, 2]
    assert report.comparison[0].network == "2 CNNs*"
    assert run.report_markdown.read_text().startswith("# Evaluation: evaluation (job)")
    # Each alone is what a job of its own says of it.
    for network, folder in zip(report.networks, folders, strict=True):
        alone = RunDirectory(run.path / "alone" / folder.name)
        _run(_spec(shards, folder), alone, World())
        assert (_report(alone).top1, _report(alone).validation_loss) == (network.top1, network.loss)


def test_corrupt_samples_are_told_counted_in_the_report_and_measured_by_no_network(
    shards: Path, save: Save, run: RunDirectory, tmp_path: Path
) -> None:
    damaged = damage(shards / "manifest.json", tmp_path / "damaged", (3, 7, 8)).parent
    world = World()
    _run(_spec(damaged, save("a"), train=shards), run, world)
    report = _report(run)
    assert report.validation_samples == NUM_IMAGES - 3
    assert report.skipped_by_reason == {"broken": 3}
    said = "3 validation images could not be read and were not measured: 3 broken."
    assert said in report.notes
    told = [event for event in world.events if isinstance(event, SamplesSkipped)]
    assert [event.by_reason for event in told] == [{"broken": 3}]


def test_weights_and_manifest_are_all_that_is_read_of_a_checkpoint(
    shards: Path, save: Save, run: RunDirectory
) -> None:
    folder = save("network", seed=3)
    (folder / VELOCITY_NAME).unlink()
    assert _run(_spec(shards, folder), run, World()) == Ended("succeeded", NUM_STEPS)
    (network,) = _report(run).networks
    assert (network.job_id, network.step) == ("network", 3)


def test_a_wish_ends_it_at_the_next_step_and_an_attempt_that_follows_begins_again(
    shards: Path, save: Save, run: RunDirectory
) -> None:
    spec = _spec(shards, save("network"))
    endings: dict[Desired, Ending] = {Desired.PAUSE: "paused", Desired.CANCEL: "cancelled"}
    for desired, ending in endings.items():
        world = World({2: desired})
        assert _run(spec, run, world) == Ended(ending, 2)
        assert world.of(Evaluated) == []
        assert not run.report.exists()
    world = World({NUM_STEPS: Desired.PAUSE})
    # There is nothing left to pause.
    assert _run(spec, run, world) == Ended("succeeded", NUM_STEPS)
    assert (_report(run).attempts, world.of(Started)[0].start_step) == (3, 0)


def test_an_attempt_that_is_not_current_reports_nothing(
    shards: Path, save: Save, run: RunDirectory
) -> None:
    with pytest.raises(StaleAttemptError):
        _run(_spec(shards, save("network")), run, World(disowned=True))
    assert not run.report.exists()


def test_a_network_trained_on_other_data_is_refused(
    shards: Path, save: Save, run: RunDirectory, tmp_path: Path
) -> None:
    other = shutil.copytree(shards, tmp_path / "other")
    document = json.loads((other / "manifest.json").read_text())
    document["rgb_pca"]["eigenvalues"][0] += 1
    (other / "manifest.json").write_text(json.dumps(document))
    folder = save("network")
    with pytest.raises(OtherDataError, match="was trained on other data than") as refused:
        _run(_spec(shards, folder, train=other), run, World())
    assert refused.value.folder == folder


def test_networks_of_other_classes_are_no_ensemble(
    shards: Path, save: Save, run: RunDirectory
) -> None:
    other = save("other", num_classes=3)
    with pytest.raises(OtherSpecError, match="has 3 outputs, and the first network 2") as refused:
        _run(_spec(shards, save("network"), other), run, World())
    assert refused.value.folder == other


def _remove(folder: Path) -> str:
    shutil.rmtree(folder)
    return r"checkpoint\.json cannot be read"


def _flip(folder: Path) -> str:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    return "model.safetensors does not have the sha256 it was written with"


def _swap(folder: Path) -> str:
    document = json.loads((folder / "checkpoint.json").read_text())
    document["model"]["sixth_conv"] = True
    document["manifest_sha256"] = None
    (folder / "checkpoint.json").write_text(json.dumps(document))
    return "does not fit the network"


def _forge(folder: Path) -> str:
    weights = folder / "model.safetensors"
    weights.write_bytes(b"no tensors")
    size_bytes, sha256 = measure(weights)
    document = json.loads((folder / "checkpoint.json").read_text())
    document["files"][weights.name] = {"size_bytes": size_bytes, "sha256": sha256}
    document["manifest_sha256"] = None
    (folder / "checkpoint.json").write_text(json.dumps(document))
    return r"model\.safetensors holds no tensors"


@pytest.mark.parametrize("damage", [_remove, _flip, _swap, _forge])
def test_what_cannot_be_loaded_is_named_by_its_field_and_not_tried_again(
    shards: Path, save: Save, run: RunDirectory, damage: Callable[[Path], str]
) -> None:
    whole, damaged = save("whole"), save("damaged")
    problem = damage(damaged)
    with pytest.raises(BadDataError, match=problem) as refused:
        _run(_spec(shards, whole, damaged), run, World())
    assert str(refused.value).startswith(f"evaluation.checkpoints.1: checkpoint {damaged}: ")
    assert reason_of(refused.value) is Reason.BAD_DATA


def test_of_the_first_release_the_specs_network_is_taken_and_said_to_be(
    shards: Path, save: Save, run: RunDirectory
) -> None:
    folder = save("old")
    document = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(
        json.dumps(document | {"model": None, "manifest_sha256": None})
    )
    with pytest.raises(BadDataError, match=r"does not fit .*; release 0\.1 wrote no network"):
        _run(_spec(shards, folder, input_size=64, num_classes=2), run, World())


class Noting(Watchdog):
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def note_step(self) -> None:
        self.told.append("step")
        super().note_step()

    def stand(self, phase: str) -> None:
        self.told.append(phase)
        super().stand(phase)

    def fed(self, batches: Iterable[T], feed: Feed | None = None) -> Iterator[T]:
        for batch in super().fed(batches, feed):
            self.told.append("data")
            yield batch


@pytest.mark.parametrize("break_it", [False, True])
def test_the_watchdog_is_told_of_data_and_steps_and_of_the_end_whatever_ends_it(
    shards: Path, save: Save, run: RunDirectory, break_it: bool
) -> None:
    watchdog = Noting()
    with suppress(BadDataError):
        _run(_spec(shards, save("a", break_it=break_it)), run, World(), watchdog)
    num_steps = 1 if break_it else NUM_STEPS
    assert watchdog.told[: 2 * num_steps] == ["data", "step"] * num_steps
    assert set(watchdog.told[2 * num_steps :]) == {"its end"}


def test_a_network_whose_loss_is_not_finite_is_named(
    shards: Path, save: Save, run: RunDirectory
) -> None:
    broken = save("broken", break_it=True)
    with pytest.raises(BadDataError, match=rf"checkpoints\.1: the loss of {broken} is not finite"):
        _run(_spec(shards, save("network"), broken), run, World())


@pytest.mark.parametrize("location", ["job:0123456789ab", "job:0123456789ab@10", "job:../x"])
def test_a_job_of_the_service_is_refused_without_it(
    shards: Path, run: RunDirectory, location: str
) -> None:
    with pytest.raises(BadSpecError, match=r"evaluation\.checkpoints\.0: .*job:"):
        _run(_spec(shards, location), run, World())
