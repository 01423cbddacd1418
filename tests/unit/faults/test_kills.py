"""What is found to be wrong after kills; the kills themselves are a program of their own."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.jobs.records import AttemptRecord
from tests.faults.kills.checks import leaked, overlapping, unexplained
from trainer.contract.attempt import Outcome, Reason

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def attempt(number: int, reason: Reason | None = None, *, ended: bool = True) -> AttemptRecord:
    outcome = Outcome(outcome="failed" if reason else "succeeded", reason=reason)
    return AttemptRecord(
        job_id="a",
        number=number,
        token_sha256=None,
        accelerator="cpu",
        resume_from=None,
        created_at=NOW,
        submitted_at=NOW,
        ended_at=NOW if ended else None,
        outcome=outcome if ended else None,
        worker_pids=(),
        events_through=0,
    )


@pytest.mark.parametrize("reason", [Reason.CRASHED, Reason.LOST, Reason.STALE, Reason.HUNG])
def test_an_attempt_that_fails_without_a_strike_is_found(reason: Reason) -> None:
    attempts = [attempt(1, Reason.CRASHED), attempt(2, reason), attempt(3)]
    assert unexplained(attempts, {1, 2}, 0) == []
    assert unexplained(attempts, {1}, 5) == [f"2: {reason}"]


def test_an_attempt_that_has_not_ended_is_found_struck_or_not() -> None:
    assert unexplained([attempt(1, ended=False)], {1}, 0) == ["1: has not ended"]


def test_a_restart_interrupts_one_attempt_of_a_job_at_most() -> None:
    attempts = [attempt(1, Reason.INTERRUPTED), attempt(2, Reason.INTERRUPTED), attempt(3)]
    assert unexplained(attempts, (), 2) == []
    assert unexplained(attempts, (), 1) == ["2: interrupted"]
    assert unexplained(attempts, {2}, 1) == []


def test_an_attempt_that_begins_beside_another_is_found() -> None:
    def turn(number: int, begins: int, ends: int | None) -> AttemptRecord:
        begun, ended = (
            None if one is None else NOW + timedelta(seconds=one) for one in (begins, ends)
        )
        assert begun is not None
        return replace(attempt(number), created_at=begun, ended_at=ended)

    assert overlapping([turn(2, 3, 5), turn(1, 0, 3), turn(3, 5, None)]) == []
    assert overlapping([turn(1, 0, 3), turn(2, 2, 5)]) == ["a-2"]
    assert overlapping([turn(1, 0, None), turn(2, 4, 5)]) == ["a-2"]


def test_what_ray_train_leaves_is_let_stay_once_for_each_controller_that_died() -> None:
    cleaners = ["1 ray::PlacementGroupCleaner", "2 ray::PlacementGroupCleaner"]
    worker, coordinator = "3 ray::RayTrainWorker", "4 ray::_AutoscalingCoordinatorActor"
    assert leaked([*cleaners, worker, coordinator], 1) == [worker, cleaners[1]]
    assert leaked([*cleaners, coordinator], 2) == []
