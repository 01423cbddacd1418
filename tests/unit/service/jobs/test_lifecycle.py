from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.lifecycle import (
    CANCEL_GRACE,
    EXIT_GRACE,
    STORAGE_GRACE,
    Decision,
    Observation,
    RayState,
    decide,
)
from service.jobs.records import AttemptRecord, JobRecord
from tests.unit.service.jobs.records import HUNG, NOW, SPEC, TIMED, attempt, job
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import ACTIVE, TERMINAL, TRANSITIONS, Desired, Status

outcomes = st.one_of(
    st.none(),
    st.sampled_from(["succeeded", "paused", "cancelled"]).map(lambda how: Outcome(outcome=how)),
    st.sampled_from(Reason).map(lambda reason: Outcome(outcome="failed", reason=reason)),
)
observations = st.builds(
    Observation,
    ray=st.sampled_from([None, *RayState]),
    ray_message=st.none() | st.just("killed"),
    outcome=outcomes,
    outcome_age=st.sampled_from([timedelta(0), EXIT_GRACE]),
    has_advanced=st.booleans(),
    storage_trouble=st.none() | st.just("the disk is full"),
    storage_trouble_age=st.sampled_from([timedelta(0), STORAGE_GRACE]),
    overdue=st.none() | st.just(HUNG),
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[JobRecord, AttemptRecord, Observation]:
    status = draw(st.sampled_from(Status))
    # A cancelling job is one whose owner wants it, or whose attempt said so.
    desired = draw(st.sampled_from(Desired))
    some_job = job(
        status=status,
        spec=draw(st.sampled_from([SPEC, TIMED])),
        created_at=draw(st.sampled_from([NOW, NOW - timedelta(hours=1)])),
        desired=Desired.CANCEL if status is Status.CANCELLING else desired,
        num_failures=draw(st.integers(0, 3)),
        status_since=NOW - draw(st.sampled_from([timedelta(0), CANCEL_GRACE])),
    )
    some_attempt = attempt(
        submitted=draw(st.booleans()), events_through=draw(st.sampled_from([0, 5]))
    )
    return some_job, some_attempt, draw(observations)


@given(situations())
def test_every_decision_is_a_step_of_the_table(
    situation: tuple[JobRecord, AttemptRecord, Observation],
) -> None:
    some_job, some_attempt, seen = situation
    decision = decide(some_job, some_attempt, seen, NOW)
    stays = decision.status is some_job.status
    assert stays or decision.status in TRANSITIONS[some_job.status]
    if decision.ended is not None:
        assert some_job.status in ACTIVE
        assert decision.status not in ACTIVE
    if decision.act is not None:
        assert stays
        assert seen.ray is not None
    if decision.act == "submit":
        assert seen.ray is RayState.ABSENT
        assert seen.outcome is None
        assert seen.storage_trouble is None
        assert some_job.desired is Desired.RUN or some_job.status is Status.RUNNING


@given(situations())
def test_what_has_ended_is_settled_in_a_few_steps(
    situation: tuple[JobRecord, AttemptRecord, Observation],
) -> None:
    some_job, some_attempt, seen = situation
    seen = replace(seen, ray=RayState.ENDED, storage_trouble_age=STORAGE_GRACE)
    for _ in range(5):
        decision = decide(some_job, some_attempt, seen, NOW)
        if decision.status is some_job.status:
            break
        some_job = replace(some_job, status=decision.status)
    assert some_job.status not in ACTIVE
    if some_job.desired is Desired.CANCEL:
        assert some_job.status in TERMINAL


@given(situations())
def test_an_unreachable_ray_ends_nothing(
    situation: tuple[JobRecord, AttemptRecord, Observation],
) -> None:
    some_job, some_attempt, seen = situation
    decision = decide(some_job, some_attempt, replace(seen, ray=None), NOW)
    assert decision.ended is None
    assert decision.act is None


def test_the_first_report_makes_it_run() -> None:
    alive = Observation(ray=RayState.ALIVE)
    starting = job(status=Status.STARTING)
    assert decide(starting, attempt(events_through=0), alive, NOW).status is Status.STARTING
    assert decide(starting, attempt(events_through=1), alive, NOW).status is Status.RUNNING


def test_an_attempt_that_ray_never_got_is_submitted_again() -> None:
    absent = Observation(ray=RayState.ABSENT)
    starting = job(status=Status.STARTING)
    unsubmitted = attempt(submitted=False, events_through=0)
    assert decide(starting, unsubmitted, absent, NOW).act == "submit"
    lost = decide(starting, attempt(events_through=0), absent, NOW)
    assert (lost.status, lost.reason) == (Status.RETRYING, Reason.LOST)


@pytest.mark.parametrize("submitted", [True, False])
def test_a_folder_that_cannot_be_used_is_waited_for_and_then_ends_the_attempt_unless_it_lives(
    submitted: bool,
) -> None:
    starting, trouble = job(status=Status.STARTING), "no space left on /runs"
    begun = attempt(submitted=submitted, events_through=0)
    for state in RayState:
        seen = Observation(ray=state, storage_trouble=trouble)
        still = replace(seen, storage_trouble_age=STORAGE_GRACE)
        if state is RayState.ALIVE:
            assert decide(starting, begun, still, NOW) == Decision(status=Status.STARTING)
        else:
            held = Decision(status=Status.STARTING, message=trouble)
            assert decide(starting, begun, seen, NOW) == held
            decision = decide(starting, begun, still, NOW)
            assert (decision.status, decision.reason) == (Status.RETRYING, Reason.NO_STORAGE)
            assert decision.message == trouble
    # What was asked needs no folder.
    absent = Observation(ray=RayState.ABSENT, storage_trouble=trouble)
    cancelling = job(status=Status.CANCELLING, desired=Desired.CANCEL)
    assert decide(cancelling, begun, absent, NOW).status is Status.CANCELLED


def test_a_driver_that_does_not_exit_is_stopped() -> None:
    seen = Observation(
        ray=RayState.ALIVE, outcome=Outcome(outcome="succeeded"), outcome_age=EXIT_GRACE
    )
    assert decide(job(), attempt(), seen, NOW) == Decision(status=Status.RUNNING, act="stop")


@pytest.mark.parametrize("status", sorted(ACTIVE - {Status.STARTING}))
def test_a_silent_attempt_is_stopped(status: Status) -> None:
    desired = Desired.CANCEL if status is Status.CANCELLING else Desired.RUN
    seen = Observation(ray=RayState.ALIVE, overdue=HUNG)
    decision = decide(job(status=status, desired=desired), attempt(), seen, NOW)
    assert decision == Decision(status=status, act="stop", message="silent")


@pytest.mark.parametrize("told", [None, Outcome(outcome="failed", reason=Reason.CRASHED)])
def test_an_attempt_that_was_stopped_for_its_silence_has_hung(told: Outcome | None) -> None:
    seen = Observation(ray=RayState.ENDED, overdue=HUNG, outcome=told)
    decision = decide(job(), attempt(), seen, NOW)
    assert (decision.status, decision.reason, decision.ended) == (
        *(Status.RETRYING, Reason.HUNG, HUNG),
    )
    succeeded = replace(seen, outcome=Outcome(outcome="succeeded"))
    assert decide(job(), attempt(), succeeded, NOW).status is Status.SUCCEEDED
