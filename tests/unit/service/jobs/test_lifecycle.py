from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.lifecycle import (
    CANCEL_GRACE,
    DEADLINE_GRACE,
    EXIT_GRACE,
    JITTER,
    STORAGE_GRACE,
    Decision,
    Observation,
    RayState,
    RefusedError,
    backoff,
    check_request,
    decide,
    jittered,
)
from service.jobs.records import AttemptRecord, JobRecord
from tests.unit.service.conftest import make_spec
from trainer.contract.attempt import RETRYABLE, Outcome, Reason
from trainer.contract.spec import RetrySpec
from trainer.contract.status import ACTIVE, TERMINAL, TRANSITIONS, Desired, Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RETRY = {"max_attempts": 3, "backoff_s": 2, "max_backoff_s": 60}
SPEC = make_spec(retry=RETRY)
TIMED = make_spec(retry=RETRY | {"deadline_s": 3600})
PAST = NOW + timedelta(hours=1)
HUNG = Outcome(outcome="failed", reason=Reason.HUNG, message="silent")


def job(**changes: object) -> JobRecord:
    base = JobRecord(
        seq=1,
        id="abc",
        spec=SPEC,
        status=Status.RUNNING,
        desired=Desired.RUN,
        attempt=1,
        num_failures=0,
        reason=None,
        message=None,
        created_at=NOW,
        status_since=NOW,
        started_at=NOW,
        finished_at=None,
        retry_at=None,
        progress=None,
        evaluation=None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # any field, by name


def attempt(*, submitted: bool = True, events_through: int = 1) -> AttemptRecord:
    return AttemptRecord(
        job_id="abc",
        number=1,
        token_sha256=None,
        accelerator="cpu",
        resume_from=None,
        created_at=NOW,
        submitted_at=NOW if submitted else None,
        ended_at=None,
        outcome=None,
        worker_pids=(),
        events_through=events_through,
    )


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


@pytest.mark.parametrize("reason", Reason)
def test_only_faults_of_the_machines_are_retried(reason: Reason) -> None:
    seen = Observation(ray=RayState.ENDED, outcome=Outcome(outcome="failed", reason=reason))
    expected = Status.RETRYING if reason in RETRYABLE else Status.FAILED
    assert decide(job(), attempt(), seen, NOW).status is expected


def test_a_job_that_always_crashes_is_given_up() -> None:
    crash = Observation(ray=RayState.ENDED, ray_message="exit code 1")
    first = decide(job(num_failures=0), attempt(), crash, NOW)
    assert first.retry_at == NOW + jittered(timedelta(seconds=2), "abc-1")
    second = decide(job(num_failures=1), attempt(), crash, NOW)
    assert second.retry_at == NOW + jittered(timedelta(seconds=4), "abc-1")
    third = decide(job(num_failures=2), attempt(), crash, NOW)
    assert third.status is Status.FAILED
    assert third.message is not None
    assert "exit code 1" in third.message


# What a machine does to an attempt, and whether the attempt had got on by then.
mishaps = st.builds(
    Observation,
    ray=st.sampled_from([RayState.ABSENT, RayState.ENDED]),
    outcome=st.none()
    | st.sampled_from(sorted(RETRYABLE)).map(lambda why: Outcome(outcome="failed", reason=why)),
    has_advanced=st.booleans(),
    storage_trouble=st.none() | st.just("the disk is full"),
    storage_trouble_age=st.just(STORAGE_GRACE),
)


@given(st.lists(mishaps, max_size=30), st.integers(1, 4))
def test_only_failures_in_a_row_without_a_new_checkpoint_end_a_job(
    seen: list[Observation], max_attempts: int
) -> None:
    running = job(spec=make_spec(retry={"max_attempts": max_attempts}))
    in_a_row = 0
    for mishap in seen:
        decision = decide(running, attempt(), mishap, NOW)
        interrupted = mishap.outcome is not None and mishap.outcome.reason is Reason.INTERRUPTED
        in_a_row = (0 if mishap.has_advanced else in_a_row) + (0 if interrupted else 1)
        assert decision.num_failures == in_a_row
        given_up = in_a_row >= max_attempts and not interrupted
        assert decision.status is (Status.FAILED if given_up else Status.RETRYING)
        if given_up:
            return
        running = replace(running, num_failures=decision.num_failures)


def test_a_week_of_restarts_fails_no_job_that_gets_on() -> None:
    lost = Observation(ray=RayState.ABSENT, has_advanced=True)
    running = job()
    for _ in range(100):
        decision = decide(running, attempt(), lost, NOW)
        assert (decision.status, decision.reason) == (Status.RETRYING, Reason.LOST)
        # Nor does it wait longer each time.
        assert decision.retry_at == NOW + jittered(timedelta(seconds=2), "abc-1")
        assert decision.num_failures is not None
        running = replace(running, num_failures=decision.num_failures)


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


def test_an_interruption_is_no_failure_of_the_job() -> None:
    outcome = Outcome(outcome="failed", reason=Reason.INTERRUPTED)
    seen = Observation(ray=RayState.ENDED, outcome=outcome)
    decision = decide(job(num_failures=2), attempt(), seen, NOW)
    assert decision.status is Status.RETRYING
    assert decision.retry_at == NOW
    assert decision.num_failures == 2


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


def test_a_driver_that_does_not_exit_is_stopped() -> None:
    seen = Observation(
        ray=RayState.ALIVE, outcome=Outcome(outcome="succeeded"), outcome_age=EXIT_GRACE
    )
    assert decide(job(), attempt(), seen, NOW) == Decision(status=Status.RUNNING, act="stop")


def test_a_pause_is_finished_before_a_resume() -> None:
    pausing = job(status=Status.PAUSING, desired=Desired.RUN)
    assert pausing.told is Desired.PAUSE
    seen = Observation(ray=RayState.ENDED, outcome=Outcome(outcome="paused"))
    paused = decide(pausing, attempt(), seen, NOW)
    assert paused.status is Status.PAUSED
    again = decide(job(status=Status.PAUSED), attempt(), seen, NOW)
    assert again.status is Status.QUEUED


@given(st.floats(0, 3600), st.floats(0, 86_400), st.integers(1, 100), st.integers(1, 100))
def test_backoff_grows_and_is_bounded(base: float, longest: float, few: int, more: int) -> None:
    retry = RetrySpec(backoff_s=base, max_backoff_s=longest)
    few, more = sorted((few, more))
    assert backoff(retry, few) <= backoff(retry, more) <= timedelta(seconds=longest)


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
    told = Outcome(outcome=_ENDING_AS[desired]) if obeys else None  # type: ignore[arg-type]
    seen = Observation(ray=RayState.ENDED, outcome=told)
    passed = [status]
    while (decision := decide(some_job, attempt(), seen, NOW)).status is not some_job.status:
        some_job = replace(some_job, status=decision.status, attempt=1)
        passed.append(some_job.status)
        assert len(passed) < 6, passed
    wanted = Status.PAUSED if desired is Desired.PAUSE else Status.CANCELLED
    # One that died while it was to pause is paused where its last checkpoint is.
    assert some_job.status is wanted, passed


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


def test_what_ray_says_of_a_dead_driver_gives_the_reason() -> None:
    for message, reason in (
        ("The actor died because its node has died.", Reason.LOST_NODE),
        ("1 worker(s) were killed due to the node running low on memory.", Reason.OUT_OF_MEMORY),
        ("exit code 1", Reason.CRASHED),
    ):
        seen = Observation(ray=RayState.ENDED, ray_message=message)
        assert decide(job(), attempt(), seen, NOW).reason is reason


@given(st.floats(0, 86_400), st.text(max_size=9))
def test_jitter_adds_a_little_and_always_the_same(wait_s: float, seed: str) -> None:
    wait = timedelta(seconds=wait_s)
    assert wait <= jittered(wait, seed) <= wait * (1 + JITTER)
    assert jittered(wait, seed) == jittered(wait, seed)
    assert jittered(timedelta(1), "a") != jittered(timedelta(1), "b")
