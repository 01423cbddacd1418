import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.damaged_sets import damage
from tests.unit.trainer.late import answering_late
from tests.unit.trainer.running.packed import NUM_IMAGES, pack_pictures
from trainer.attempt.fence import Fence
from trainer.attempt.setting import Ended, Ending, Setting
from trainer.contract.attempt import AttemptOrder
from trainer.contract.events import AttemptEventData, Evaluated, Progress, SamplesSkipped, Started
from trainer.contract.model_spec import ModelSpec
from trainer.contract.order_file import write_order
from trainer.contract.report import CalibrationReport, parse_report
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired
from trainer.devices.replicas import Replicas
from trainer.errors import BadDataError, StaleAttemptError
from trainer.running import calibration_job
from trainer.running.calibration_job import calibrate

CPU = torch.device("cpu")
BATCH_SIZE = 16
STEPS_PER_EPOCH = -(-NUM_IMAGES // BATCH_SIZE)
WARM_UP, MEASURED = 2, 5
NUM_STEPS = WARM_UP + MEASURED
LIMITS = {"warm_up_steps": WARM_UP, "steps": MEASURED, "seconds": 120}

Specs = Callable[..., JobSpec]


class World:
    """What a calibration tells, and what it is told as the nth step is queued."""

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


class SlowWorld(World):
    """Its clock goes on by so many seconds with each step that is queued."""

    def __init__(self, step_s: float) -> None:
        super().__init__()
        self._step_s = step_s

    def clock(self) -> float:
        return self._asked * self._step_s


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_pictures(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def spec(shards: Path, job: Specs, small_model: Callable[..., ModelSpec]) -> Specs:
    """Makes a calibration of a small network."""

    def make(**limits: float) -> JobSpec:
        return job(
            kind="calibrate",
            data={"train": str(shards), "validation": str(shards)},
            model=small_model(num_classes=2),
            optim={"global_batch_size": BATCH_SIZE, "learning_rate": 0.01},
            calibration=LIMITS | limits,
        )

    return make


def _run(
    spec: JobSpec,
    run: RunDirectory,
    world: World,
    clock: Callable[[], float] = time.monotonic,
) -> Ended:
    attempt = run.attempt(run.newest_attempt() + 1)
    order = AttemptOrder(
        job_id="job", attempt=attempt.number, spec=spec, accelerator="cpu", resume_from=None
    )
    write_order(attempt, order)
    return calibrate(
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
        ),
        clock=clock,
    )


def _report(run: RunDirectory) -> CalibrationReport:
    report = parse_report(run.report.read_bytes())
    assert isinstance(report, CalibrationReport)
    return report


def test_steps_after_the_warm_up_are_measured_and_nothing_else_is_kept(
    spec: Specs, run: RunDirectory
) -> None:
    world = World()
    assert _run(spec(), run, world) == Ended("succeeded", NUM_STEPS)
    (started,) = world.of(Started)
    assert (started.start_step, started.planned_steps, started.worker_pids) == (0, NUM_STEPS, (7,))
    last = world.of(Progress)[-1]
    assert (last.step, last.planned_steps, last.epoch) == (
        NUM_STEPS,
        NUM_STEPS,
        NUM_STEPS / STEPS_PER_EPOCH,
    )
    assert world.of(Evaluated) == []
    report = _report(run)
    assert (report.steps, report.warm_up_steps, report.attempts) == (MEASURED, WARM_UP, 1)
    # Steps 2 to 6, of which the fourth of an epoch has the two images that are left.
    assert report.images == 4 * BATCH_SIZE + NUM_IMAGES % BATCH_SIZE
    assert report.images_per_second == pytest.approx(report.images / report.seconds)
    by_phase_s = sum(report.phase_seconds.values()) * report.steps
    assert by_phase_s == pytest.approx(report.seconds, rel=0.05)
    assert {"data_wait", "forward", "backward", "optimizer"} <= report.phase_seconds.keys()
    assert run.report_markdown.read_text().startswith("# Calibration: test (job)")
    left = {file.name for file in run.attempt(1).path.iterdir()}
    assert left == {"order.json"}


def test_the_time_ends_the_warm_up_and_what_is_measured(
    spec: Specs, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration_job, "PROGRESS_EVERY_S", 0.0)
    world = SlowWorld(step_s=1.0)
    limited = spec(warm_up_steps=100, steps=100, seconds=2.5)
    assert _run(limited, run, world, world.clock) == Ended("succeeded", 6)
    assert (_report(run).warm_up_steps, _report(run).steps) == (3, 3)
    # It is foreseen from the first step on.
    told = [(event.step, event.planned_steps) for event in world.of(Progress)]
    assert told == [(step, 6) for step in range(1, 7)]


def test_on_a_device_that_answers_late_it_has_answered_when_the_measuring_begins_and_ends(
    spec: Specs, run: RunDirectory
) -> None:
    with answering_late() as happened:
        assert _run(spec(), run, World()) == Ended("succeeded", NUM_STEPS)
    # Else a step is queued before the one before it is read.
    assert happened == [
        *("queue 0", "queue 1", "read 0", "read 1"),
        *("queue 2", "queue 3", "read 2", "queue 4", "read 3"),
        *("queue 5", "read 4", "queue 6", "read 5", "read 6"),
    ]
    assert (_report(run).warm_up_steps, _report(run).steps) == (WARM_UP, MEASURED)


def test_however_slow_steps_are_one_is_measured(spec: Specs, run: RunDirectory) -> None:
    world = SlowWorld(step_s=1000.0)
    assert _run(spec(), run, world, world.clock) == Ended("succeeded", 2)
    assert (_report(run).warm_up_steps, _report(run).steps) == (1, 1)


@pytest.mark.parametrize("at", [1, WARM_UP, WARM_UP + 1, NUM_STEPS - 1])
def test_a_wish_ends_it_at_the_next_step_and_an_attempt_that_follows_begins_again(
    spec: Specs, run: RunDirectory, at: int
) -> None:
    endings: dict[Desired, Ending] = {Desired.PAUSE: "paused", Desired.CANCEL: "cancelled"}
    for desired, ending in endings.items():
        assert _run(spec(), run, World({at: desired})) == Ended(ending, at)
        assert not run.report.exists()
    world = World({NUM_STEPS: Desired.PAUSE})
    # There is nothing left to pause.
    assert _run(spec(), run, world) == Ended("succeeded", NUM_STEPS)
    assert (_report(run).attempts, world.of(Started)[0].start_step) == (3, 0)


def test_an_attempt_that_is_not_current_reports_nothing(spec: Specs, run: RunDirectory) -> None:
    with pytest.raises(StaleAttemptError):
        _run(spec(), run, World(disowned=True))
    assert not run.report.exists()


def test_corrupt_samples_are_told_and_too_many_of_them_refused(
    spec: Specs, run: RunDirectory, shards: Path, tmp_path: Path
) -> None:
    damaged = damage(shards / "manifest.json", tmp_path / "damaged", (3, 7, 8))
    data = spec().data.model_copy(update={"train": str(damaged), "corrupt_sample_limit": 2})
    world = World()
    with pytest.raises(BadDataError, match=r"3 samples could not be read"):
        _run(spec().model_copy(update={"data": data}), run, world)
    assert world.of(SamplesSkipped)[-1].total == 3
