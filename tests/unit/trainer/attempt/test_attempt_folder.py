from pathlib import Path

import pytest

from tests.unit.trainer.runs import add_attempt, add_checkpoint
from trainer.attempt.attempt_folder import attempt_at, write_outcome
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.run_directory import RunDirectory


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
