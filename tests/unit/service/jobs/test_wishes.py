from dataclasses import replace

import pytest

from service.jobs.lifecycle import (
    CANCEL_GRACE,
    Observation,
    RayState,
    RefusedError,
    check_request,
    decide,
)
from tests.unit.service.jobs.records import NOW, attempt, job
from trainer.contract.attempt import Outcome
from trainer.contract.status import TERMINAL, Desired, Status


def test_a_cancel_waits_for_the_next_report_and_then_stops_it() -> None:
    alive = Observation(ray=RayState.ALIVE)
    cancelling = job(status=Status.CANCELLING, desired=Desired.CANCEL)
    assert decide(cancelling, attempt(), alive, NOW).act is None
    assert decide(cancelling, attempt(), alive, NOW + CANCEL_GRACE).act == "stop"
    assert decide(cancelling, attempt(events_through=0), alive, NOW).act == "stop"


def test_an_attempt_that_finished_before_it_heard_of_the_cancel_has_succeeded() -> None:
    seen = Observation(ray=RayState.ENDED, outcome=Outcome(outcome="succeeded"))
    cancelling = job(status=Status.CANCELLING, desired=Desired.CANCEL)
    assert decide(cancelling, attempt(), seen, NOW).status is Status.SUCCEEDED


def test_a_pause_is_finished_before_a_resume() -> None:
    pausing = job(status=Status.PAUSING, desired=Desired.RUN)
    assert pausing.told is Desired.PAUSE
    seen = Observation(ray=RayState.ENDED, outcome=Outcome(outcome="paused"))
    paused = decide(pausing, attempt(), seen, NOW)
    assert paused.status is Status.PAUSED
    again = decide(job(status=Status.PAUSED), attempt(), seen, NOW)
    assert again.status is Status.QUEUED


@pytest.mark.parametrize(
    ("status", "before", "asked", "allowed"),
    [
        (Status.RUNNING, Desired.RUN, Desired.CANCEL, True),
        (Status.CANCELLING, Desired.CANCEL, Desired.CANCEL, True),
        (Status.CANCELLED, Desired.CANCEL, Desired.CANCEL, True),
        (Status.SUCCEEDED, Desired.RUN, Desired.CANCEL, False),
        (Status.SUCCEEDED, Desired.RUN, Desired.RUN, False),
        (Status.CANCELLING, Desired.CANCEL, Desired.RUN, False),
        (Status.PAUSED, Desired.PAUSE, Desired.RUN, True),
        (Status.RUNNING, Desired.RUN, Desired.RUN, True),
    ],
)
def test_requests_that_come_too_late_are_refused(
    status: Status, before: Desired, asked: Desired, allowed: bool
) -> None:
    some_job = job(status=status, desired=before)
    if allowed:
        check_request(some_job, asked)
    else:
        with pytest.raises(RefusedError, match="abc"):
            check_request(some_job, asked)


_ENDING_AS = {Desired.PAUSE: "paused", Desired.CANCEL: "cancelled"}


@pytest.mark.parametrize("desired", [Desired.PAUSE, Desired.CANCEL])
@pytest.mark.parametrize("status", sorted(set(Status) - TERMINAL))
@pytest.mark.parametrize("obeys", [True, False], ids=["obeys", "is stopped"])
def test_a_wish_is_granted_from_every_status(status: Status, desired: Desired, obeys: bool) -> None:
    some_job = job(status=status)
    if status is Status.CANCELLING:
        some_job = replace(some_job, desired=Desired.CANCEL)
        if desired is Desired.PAUSE:
            with pytest.raises(RefusedError, match="being cancelled"):
                check_request(some_job, desired)
            return
    check_request(some_job, desired)
    some_job = replace(some_job, desired=desired)
    told = Outcome(outcome=_ENDING_AS[desired]) if obeys else None
    seen = Observation(ray=RayState.ENDED, outcome=told)
    passed = [status]
    while (decision := decide(some_job, attempt(), seen, NOW)).status is not some_job.status:
        some_job = replace(some_job, status=decision.status, attempt=1)
        passed.append(some_job.status)
        assert len(passed) < 6, passed
    wanted = Status.PAUSED if desired is Desired.PAUSE else Status.CANCELLED
    # One that died while it was to pause is paused where its last checkpoint is.
    assert some_job.status is wanted, passed
