from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.lifecycle import (
    JITTER,
    STORAGE_GRACE,
    UNCOUNTED_BACKOFF,
    Observation,
    RayState,
    backoff,
    decide,
    jittered,
)
from tests.unit.service.conftest import make_spec
from tests.unit.service.jobs.records import NOW, attempt, job
from trainer.contract.attempt import RETRYABLE, Outcome, Reason
from trainer.contract.death import SECOND_DRIVER
from trainer.contract.spec import RetrySpec
from trainer.contract.status import Status


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
        forgiven = decision.reason in {Reason.INTERRUPTED, Reason.NO_STORAGE}
        in_a_row = (0 if mishap.has_advanced else in_a_row) + (0 if forgiven else 1)
        assert decision.num_failures == in_a_row
        given_up = in_a_row >= max_attempts and not forgiven
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


def test_an_interruption_is_no_failure_of_the_job() -> None:
    outcome = Outcome(outcome="failed", reason=Reason.INTERRUPTED)
    seen = Observation(ray=RayState.ENDED, outcome=outcome)
    decision = decide(job(num_failures=2), attempt(), seen, NOW)
    assert decision.status is Status.RETRYING
    assert decision.retry_at == NOW
    assert decision.num_failures == 2


def test_a_lack_of_storage_is_no_failure_of_the_job_and_is_never_tried_without_a_wait() -> None:
    outcome = Outcome(outcome="failed", reason=Reason.NO_STORAGE)
    hasty = job(num_failures=2, spec=make_spec(retry={"max_attempts": 3, "backoff_s": 0}))
    decision = decide(hasty, attempt(), Observation(ray=RayState.ENDED, outcome=outcome), NOW)
    assert (decision.status, decision.num_failures) == (Status.RETRYING, 2)
    assert decision.retry_at == NOW + jittered(UNCOUNTED_BACKOFF, "abc-1")


def test_a_second_driver_is_no_failure_and_each_further_one_is_waited_for_longer() -> None:
    hasty = job(num_failures=2, spec=make_spec(retry={"max_attempts": 3, "backoff_s": 10}))
    waits = []
    for num_alike in range(3):
        seen = Observation(ray=RayState.ENDED, exit_code=SECOND_DRIVER, num_alike=num_alike)
        decision = decide(hasty, attempt(), seen, NOW)
        assert (decision.status, decision.reason) == (Status.RETRYING, Reason.INTERRUPTED)
        assert decision.num_failures == 2
        waits.append(decision.retry_at)
    assert waits == [NOW + jittered(timedelta(seconds=s), "abc-1") for s in (10, 20, 40)]


def test_who_is_not_let_in_asks_again_a_few_times_and_then_gives_up() -> None:
    denied = "s3://a cannot be read: access was denied; mend the credentials"
    outcome = Outcome(outcome="failed", reason=Reason.NO_ACCESS, message=denied)
    seen = Observation(ray=RayState.ENDED, outcome=outcome)
    running = job(spec=make_spec(retry={"max_attempts": 3}))
    for num_failures in (1, 2):
        decision = decide(running, attempt(), seen, NOW)
        assert (decision.status, decision.reason) == (Status.RETRYING, Reason.NO_ACCESS)
        assert (decision.num_failures, decision.message) == (num_failures, denied)
        running = replace(running, num_failures=num_failures)
    last = decide(running, attempt(), seen, NOW)
    assert (last.status, last.reason) == (Status.FAILED, Reason.NO_ACCESS)
    assert last.message == f"gave up after 3 failed attempts in a row, the last: {denied}"


@given(st.floats(0, 3600), st.floats(0, 86_400), st.integers(1, 100), st.integers(1, 100))
def test_backoff_grows_and_is_bounded(base: float, longest: float, few: int, more: int) -> None:
    retry = RetrySpec(backoff_s=base, max_backoff_s=longest)
    few, more = sorted((few, more))
    assert backoff(retry, few) <= backoff(retry, more) <= timedelta(seconds=longest)


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
