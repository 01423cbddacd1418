from pathlib import Path

import pytest

from tests.unit.trainer.runs import add_attempt, add_checkpoint
from trainer.attempt.spool import Spool
from trainer.contract.events import Evaluated
from trainer.contract.report import BestEpoch
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import Protocol
from trainer.evaluation.report import best_epoch


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def _evaluate(
    attempt: AttemptDirectory,
    *top1_of: tuple[int, float],
    protocol: Protocol = "centre_crop",
) -> None:
    spool = Spool(attempt.events)
    for step, top1 in top1_of:
        spool.append(
            Evaluated(
                step=step,
                epoch=step / 10,
                num_samples=50,
                loss=1.0,
                top1=top1,
                top5=1.0,
                protocol=protocol,
            )
        )
    spool.close()


def _best(step: int, top1: float) -> BestEpoch:
    return BestEpoch(epoch=step / 10, step=step, top1=top1, top5=1.0)


def test_the_best_epoch_is_that_of_least_error_and_of_equals_the_latest(
    run: RunDirectory,
) -> None:
    assert best_epoch(run) is None
    attempt = add_attempt(run)
    assert best_epoch(run) is None
    _evaluate(attempt, (10, 0.5), (20, 0.7), (30, 0.7), (40, 0.6))
    assert best_epoch(run) == _best(30, 0.7)


def test_ten_views_are_not_held_against_the_centre_crop(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    _evaluate(attempt, (10, 0.5))
    _evaluate(attempt, (10, 0.9), protocol="ten_view")
    assert best_epoch(run) == _best(10, 0.5)


def test_what_was_trained_again_counts_as_it_was_the_last_time(run: RunDirectory) -> None:
    first = add_attempt(run)
    folder = add_checkpoint(first, 10)
    _evaluate(first, (10, 0.5), (20, 0.9))
    second = add_attempt(run, resume_from=folder)
    _evaluate(second, (20, 0.4))
    assert best_epoch(run) == _best(10, 0.5)


def test_half_a_line_is_passed_over(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    _evaluate(attempt, (10, 0.5))
    with attempt.events.open("ab") as file:
        file.write(b'{"number": 2, "at"')
    assert best_epoch(run) == _best(10, 0.5)
