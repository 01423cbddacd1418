from dataclasses import replace
from datetime import timedelta

import pytest

from service.jobs.lifecycle import (
    DEADLINE_GRACE,
    Decision,
    Observation,
    RayState,
    decide,
)
from tests.unit.service.jobs.records import PAST, TIMED, attempt, job
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Desired, Status


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RETRYING, Status.PAUSED])
@pytest.mark.parametrize("desired", Desired)
def test_a_job_that_waits_past_its_deadline_has_failed_unless_it_is_to_be_cancelled(
    status: Status, desired: Desired
) -> None:
    waiting = job(status=status, spec=TIMED, desired=desired)
    before = decide(waiting, None, Observation(ray=None), PAST - timedelta(seconds=1))
    assert before.reason is not Reason.DEADLINE
    decision = decide(waiting, None, Observation(ray=None), PAST)
    if desired is Desired.CANCEL:
        assert decision.status is Status.CANCELLED
    else:
        assert (decision.status, decision.reason) == (Status.FAILED, Reason.DEADLINE)
        assert "3,600 s" in str(decision.message)


@pytest.mark.parametrize("status", [Status.STARTING, Status.RUNNING])
def test_at_its_deadline_a_job_checkpoints_as_at_a_pause_and_fails(status: Status) -> None:
    running = job(status=status, spec=TIMED)
    alive = Observation(ray=RayState.ALIVE)
    decision = decide(running, attempt(), alive, PAST)
    assert (decision.status, decision.reason) == (Status.PAUSING, Reason.DEADLINE)
    pausing = replace(running, status=Status.PAUSING, status_since=PAST)
    assert pausing.told is Desired.PAUSE
    assert decide(pausing, attempt(), alive, PAST) == Decision(status=Status.PAUSING)
    paused = replace(alive, ray=RayState.ENDED, outcome=Outcome(outcome="paused", step=7))
    idle = replace(pausing, status=decide(pausing, attempt(), paused, PAST).status)
    assert decide(idle, attempt(), paused, PAST).reason is Reason.DEADLINE


def test_what_does_not_pause_at_its_deadline_is_stopped() -> None:
    pausing = job(status=Status.PAUSING, spec=TIMED, status_since=PAST)
    later = PAST + DEADLINE_GRACE
    assert decide(pausing, attempt(), Observation(ray=RayState.ALIVE), later).act == "stop"
    decision = decide(pausing, attempt(), Observation(ray=RayState.ENDED), later)
    assert (decision.status, decision.reason) == (Status.FAILED, Reason.DEADLINE)


def test_what_is_done_when_its_deadline_comes_has_succeeded() -> None:
    seen = Observation(ray=RayState.ENDED, outcome=Outcome(outcome="succeeded"))
    assert decide(job(spec=TIMED), attempt(), seen, PAST).status is Status.SUCCEEDED
