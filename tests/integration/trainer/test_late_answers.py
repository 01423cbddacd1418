"""A loop on a device that answers late leaves and tells what one does that answers at once."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from data_shards.feeding.reader import Batch
from tests.acceptance.product import ledger_lines
from tests.damaged_sets import damage
from tests.integration.trainer.attempts import World, attempt_of
from tests.integration.trainer.conftest import Shards, final_weights, write_job
from tests.integration.trainer.replica_loops import NUM_REPLICAS, run_loops
from tests.ledgers import presented
from tests.unit.trainer.late import answering_late
from trainer.attempt.stopwatch import Stopwatch
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint_folder import list_folders, read_manifest
from trainer.contract.events import AttemptEvent, AttemptEventData, Evaluated, Progress
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired
from trainer.errors import TrainingError
from trainer.learning import train_step
from trainer.running.local import read_spec
from trainer.running.meter import timed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("settled")]

NUM_STEPS = 8


@pytest.fixture(autouse=True)
def progress_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by the clock.
    monkeypatch.setattr("trainer.running.loop.PROGRESS_EVERY_S", 0.0)


@pytest.fixture
def job(shards: Shards, tmp_path: Path) -> Callable[..., JobSpec]:
    def make(*, optim: dict[str, Any] | None = None, **over: Any) -> JobSpec:
        steps = {"global_batch_size": 16, "max_steps": NUM_STEPS, **(optim or {})}
        return read_spec(write_job(tmp_path, shards, optim=steps, **over))

    return make


def _untimed(event: AttemptEventData) -> AttemptEventData:
    if isinstance(event, Progress):
        untold = {"images_per_second": 0, "data_wait_ratio": 0, "phase_seconds": {}}
        return event.model_copy(update=untold)
    if isinstance(event, Evaluated):
        return event.model_copy(update={"seconds": None})
    return event


def _left_and_told(
    spec: JobSpec,
    run_dir: Path,
    device: AbstractContextManager[object],
    *,
    at: dict[int, Callable[[], Desired]] | None = None,
    disowned_at: int | None = None,
    num_attempts: int = 1,
) -> dict[str, Any]:
    """Run attempts and return all that anybody can see of them, and how many steps they queued."""
    num_queued = 0
    events: dict[str, list[AttemptEventData]] = {}
    endings: list[object] = []
    with device:
        for number in range(num_attempts):
            world = World()
            world.at = at or {} if number == 0 else {}

            def disowned(world: World = world) -> bool:
                return disowned_at is not None and world.asked >= disowned_at

            try:
                endings.append(attempt_of(spec, run_dir, world, disowned=disowned))
            except TrainingError as error:
                endings.append(str(error))
            num_queued += world.asked
            # By kind: checkpoints are told of by another thread.
            for event in world.events:
                events.setdefault(type(event).__name__, []).append(_untimed(event))
    run = RunDirectory(run_dir)
    return {
        "queued": num_queued,
        "endings": endings,
        "events": events,
        "ledgers": [ledger_lines(run.attempt(1 + number).path) for number in range(num_attempts)],
        "checkpoints": [read_manifest(folder) for folder in list_folders(run)],
    }


@pytest.mark.parametrize(
    ("over", "world"),
    [
        ({"optim": {"max_steps": 30}}, {}),
        ({"checkpoint": {"interval_steps": 1}}, {}),
        ({"checkpoint": {"interval_steps": 3}}, {}),
        ({"optim": {"micro_batch_size": 4}}, {}),
        ({}, {"at": {5: lambda: Desired.PAUSE}, "num_attempts": 2}),
        ({}, {"at": {4: lambda: Desired.CANCEL}}),
        ({}, {"disowned_at": 5}),
    ],
    ids=["end of epoch", "every step", "every third", "micro-batches", "pause", "cancel", "stale"],
)
def test_late_answers_leave_and_tell_the_same(
    job: Callable[..., JobSpec], tmp_path: Path, over: dict[str, Any], world: dict[str, Any]
) -> None:
    spec = job(**over)
    at_once = _left_and_told(spec, tmp_path / "at once", nullcontext(), **world)
    late = _left_and_told(spec, tmp_path / "late", answering_late(), **world)
    assert late == at_once
    assert at_once["ledgers"][0]


def test_an_answer_is_waited_for_when_the_next_step_is_queued_or_something_follows(
    job: Callable[..., JobSpec], tmp_path: Path
) -> None:
    spec = job(checkpoint={"interval_steps": 3})
    with answering_late() as happened:
        attempt_of(spec, tmp_path / "run", World())
    # Checkpoints after the steps 2, 5 and 7, the last.
    assert " ".join(happened) == (
        "queue 0 queue 1 read 0 queue 2 read 1 read 2 "
        "queue 3 queue 4 read 3 queue 5 read 4 read 5 "
        "queue 6 queue 7 read 6 read 7"
    )


@pytest.mark.parametrize("interval_steps", [1, 3])
def test_a_loss_that_is_not_finite_ends_late_as_at_once(
    job: Callable[..., JobSpec],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interval_steps: int,
) -> None:
    spec = job(checkpoint={"interval_steps": interval_steps})
    loss_sum = train_step._loss_sum

    def run(name: str, device: AbstractContextManager[object]) -> dict[str, Any]:
        calls = itertools.count()

        def broken(*tensors: Tensor) -> Tensor:
            return loss_sum(*tensors) * (torch.nan if next(calls) == 4 else 1)

        monkeypatch.setattr("trainer.learning.train_step._loss_sum", broken)
        return _left_and_told(spec, tmp_path / name, device)

    at_once, late = run("at once", nullcontext()), run("late", answering_late())
    # Of the steps that nothing follows from, the next was queued already.
    assert late.pop("queued") - at_once.pop("queued") == (0 if interval_steps == 1 else 1)
    assert late == at_once
    (ending,) = late["endings"]
    assert ending.startswith("step 4: the loss is not finite (the loss alone")
    assert [line["step"] for line in late["ledgers"][0]] == [0, 1, 2, 3]


@pytest.mark.parametrize("limit", [5, 400])
def test_corrupt_samples_are_told_of_with_their_step(
    job: Callable[..., JobSpec], shards: Shards, tmp_path: Path, limit: int
) -> None:
    damaged = damage(shards.train, tmp_path / "damaged", range(0, 400, 9))
    data = {"train": str(damaged), "validation": str(shards.validation)}
    spec = job(data={**data, "corrupt_sample_limit": limit})
    at_once = _left_and_told(spec, tmp_path / "at once", nullcontext())
    late = _left_and_told(spec, tmp_path / "late", answering_late())
    assert late == at_once
    assert len(late["events"]["SamplesSkipped"]) > 1
    assert (late["queued"] < NUM_STEPS) == (limit == 5)


def test_an_end_before_the_answer_is_an_end_before_the_step(
    job: Callable[..., JobSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, run = job(checkpoint={"interval_steps": 3}), RunDirectory(tmp_path / "run")
    attempt_of(spec, tmp_path / "undisturbed", World())

    def until_it_fails(
        batches: Iterator[Batch], stopwatch: Stopwatch
    ) -> Iterator[tuple[Batch, float]]:
        yield from itertools.islice(timed(batches, stopwatch), 5)
        raise OSError("the reader failed")

    with answering_late() as happened:
        with monkeypatch.context() as failing:
            failing.setattr("trainer.running.steps.timed", until_it_fails)
            with pytest.raises(OSError, match="the reader failed"):
                attempt_of(spec, run.path, World())
        assert happened[-2:] == ["queue 4", "read 3"]
        # Step 4 was trained, and nothing counts it.
        assert [line["step"] for line in ledger_lines(run.attempt(1).path)] == [0, 1, 2, 3]
        attempt_of(spec, run.path, World())
    ledger = presented(run.path)
    assert (ledger.steps_done, ledger.steps_redone) == (NUM_STEPS, 1)
    assert final_weights(run.path) == final_weights(tmp_path / "undisturbed")


def test_replicas_that_answer_late_leave_the_same(
    job: Callable[..., JobSpec], tmp_path: Path
) -> None:
    spec = job(
        scale={"replicas": NUM_REPLICAS, "cpus_per_replica": 1}, checkpoint={"interval_steps": 3}
    )

    def run(name: str, *, late: bool) -> list[Any]:
        run = RunDirectory(tmp_path / name)
        attempt = run.attempt(1)
        write_order(
            attempt,
            AttemptOrder(job_id="job", attempt=1, spec=spec, accelerator="cpu", resume_from=None),
        )
        assert run_loops(run.path, late=late) == [0, 0]
        lines = attempt.events.read_text().splitlines()
        told = [AttemptEvent.model_validate_json(line).data for line in lines]
        *_, last = [one for one in told if isinstance(one, Progress)]
        assert len(last.replica_images_per_second) == NUM_REPLICAS
        ledgers = [attempt.ledger(rank).read_text() for rank in range(NUM_REPLICAS)]
        return [*ledgers, [read_manifest(folder) for folder in list_folders(run)]]

    assert run("late", late=True) == run("at once", late=False)
