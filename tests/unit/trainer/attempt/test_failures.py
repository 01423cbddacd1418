import os
import signal
from itertools import permutations
from pathlib import Path

import pytest

from data_shards.errors import WorkerDiedError
from tests.unit.trainer.runs import add_attempt
from trainer.attempt.failures import Failure, cause, read_failure, write_failure
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.death import death
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.errors import BadDataError, NoDeviceError, ReplicaGoneError, StaleAttemptError
from trainer.running.replica import failure, record_failure

OOM_KILLED = death("The actor is dead because its worker process has died.", num_oom_kills=1)
OWN = Failure(outcome=failure(KeyError("own")))
OF_A_PEER = Failure(outcome=failure(ReplicaGoneError("reset by peer")), follows=True)
FORESEEN = Failure(outcome=failure(BadDataError("shard x")))


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    return add_attempt(RunDirectory(tmp_path / "run"))


def _fail(attempt: AttemptDirectory, rank: int, error: Exception, *, at: int = 0) -> None:
    with pytest.raises(type(error)), record_failure(attempt, rank):
        raise error
    os.utime(attempt.failure(rank), (at, at))


@pytest.mark.parametrize("ranks", list(permutations(range(3))))
def test_the_failure_that_tells_most_is_taken(
    attempt: AttemptDirectory, ranks: tuple[int, ...]
) -> None:
    assert read_failure(attempt) is None
    errors = (ReplicaGoneError("reset by peer"), KeyError("own"), BadDataError("shard x"))
    for rank, error, expected in zip(ranks, errors, (OF_A_PEER, OWN, FORESEEN), strict=True):
        _fail(attempt, rank, error, at=rank)
        assert read_failure(attempt) == expected


def test_of_failures_that_tell_as_much_the_first_is_taken(attempt: AttemptDirectory) -> None:
    for rank, at in ((0, 2), (1, 1), (2, 3)):
        write_failure(attempt, rank, Failure(outcome=failure(BadDataError(f"shard {rank}"))))
        os.utime(attempt.failure(rank), (at, at))
    found = read_failure(attempt)
    assert found is not None
    assert found.outcome.message == "shard 1"


@pytest.mark.parametrize(
    ("error", "reason", "message", "follows"),
    [
        (BadDataError("shard x"), Reason.BAD_DATA, "shard x", False),
        (NoDeviceError("no GPU"), Reason.NO_DEVICE, "no GPU", False),
        (StaleAttemptError("late"), Reason.STALE, "late", False),
        (KeyError("k"), Reason.CRASHED, "KeyError: 'k'", False),
        (ReplicaGoneError("reset"), Reason.CRASHED, "another replica has ended", True),
        (WorkerDiedError(7, -signal.SIGKILL), Reason.CRASHED, "by signal SIGKILL", True),
        (WorkerDiedError(7, -signal.SIGSEGV), Reason.CRASHED, "by signal SIGSEGV", False),
    ],
)
def test_an_error_is_recorded_with_its_reason_and_goes_on(
    attempt: AttemptDirectory, error: Exception, reason: Reason, message: str, follows: bool
) -> None:
    _fail(attempt, 2, error)
    assert read_failure(attempt) == Failure(outcome=failure(error), follows=follows)
    assert failure(error).reason is reason
    assert message in str(failure(error).message)


@pytest.mark.parametrize("told", [OWN, FORESEEN])
def test_a_kill_for_want_of_memory_is_not_charged_to_who_told_an_error_of_its_own(
    told: Failure,
) -> None:
    assert cause(told, OOM_KILLED) == told.outcome


@pytest.mark.parametrize("told", [OF_A_PEER, None])
def test_a_kill_for_want_of_memory_explains_why_the_others_failed(told: Failure | None) -> None:
    assert cause(told, OOM_KILLED) == OOM_KILLED


def test_what_a_peer_told_is_better_than_a_death_that_says_nothing() -> None:
    seen = Outcome(outcome="failed", reason=Reason.CRASHED, message="a worker died")
    assert cause(OF_A_PEER, seen) == OF_A_PEER.outcome
    assert cause(None, seen) == seen
