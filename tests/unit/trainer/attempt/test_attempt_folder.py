import os
from pathlib import Path

import pytest

from tests.unit.trainer.runs import add_attempt, add_checkpoint
from trainer.attempt.attempt_folder import attempt_at, read_failure, write_outcome
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.durable import write_whole
from trainer.contract.run_directory import RunDirectory
from trainer.errors import BadDataError, NoDeviceError, StaleAttemptError
from trainer.running.replica import failure, record_failure


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_an_attempt_is_found_by_its_folder(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    assert attempt_at(attempt.path) == attempt


def test_an_outcome_counts_the_steps_that_are_committed(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    failed = Outcome(outcome="failed", reason=Reason.CRASHED, message="died", step=99)
    assert write_outcome(attempt, failed).step is None
    add_checkpoint(attempt, 20)
    assert write_outcome(attempt, failed).step == 20
    assert Outcome.model_validate_json(attempt.outcome.read_bytes()).step == 20


def _write_failure(run: RunDirectory, rank: int, reason: Reason, *, at: int) -> None:
    attempt = run.attempt(1)
    outcome = Outcome(outcome="failed", reason=reason, message=f"replica {rank}")
    write_whole(attempt.failure(rank), outcome.model_dump_json().encode())
    os.utime(attempt.failure(rank), (at, at))


def test_a_foreseen_failure_tells_more_than_an_earlier_crash(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    assert read_failure(attempt) is None
    _write_failure(run, 0, Reason.CRASHED, at=1)
    _write_failure(run, 1, Reason.BAD_DATA, at=2)
    _write_failure(run, 2, Reason.BAD_DATA, at=3)
    found = read_failure(attempt)
    assert found is not None
    assert found.message == "replica 1"


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (BadDataError("shard x"), Reason.BAD_DATA, "shard x"),
        (NoDeviceError("no GPU"), Reason.NO_DEVICE, "no GPU"),
        (StaleAttemptError("late"), Reason.STALE, "late"),
        (KeyError("k"), Reason.CRASHED, "KeyError: 'k'"),
    ],
)
def test_an_error_is_recorded_with_its_reason_and_goes_on(
    run: RunDirectory, error: Exception, reason: Reason, message: str
) -> None:
    attempt = add_attempt(run)
    with pytest.raises(type(error)), record_failure(attempt, rank=2):
        raise error
    assert read_failure(attempt) == failure(error)
    assert failure(error) == Outcome(outcome="failed", reason=reason, message=message)
