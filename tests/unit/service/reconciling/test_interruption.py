"""Interruptions that are foretold, by a stop of this process or of its local Ray."""

from datetime import timedelta

import pytest

from service.reconciling.interruption import note_interruption
from service.reconciling.observer import STOPPED_WITHIN_S
from service.reconciling.reconciler import INTERRUPTED
from service.store.attempts import note_verdict
from service.store.leases import LostLeadershipError
from service.store.store import Store
from tests.unit.service.conftest import job_in
from tests.unit.service.world import World, event_of
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Status


def test_it_is_noted_of_attempts_that_have_neither_ended_nor_another_verdict(store: Store) -> None:
    for status in (Status.RUNNING, Status.STARTING, Status.RETRYING):
        job_in(store, status, status)
    job_in(store, Status.RUNNING, "hung")
    hung = Outcome(outcome="failed", reason=Reason.HUNG)
    store.write(lambda connection: note_verdict(connection, "hung", 1, hung))
    ended = store.attempt(Status.RETRYING, 1)
    assert note_interruption(store)
    assert store.attempt(Status.RUNNING, 1).outcome == INTERRUPTED
    assert store.attempt(Status.STARTING, 1).outcome == INTERRUPTED
    assert store.attempt(Status.RETRYING, 1) == ended
    assert store.attempt("hung", 1).outcome == hung


def test_nothing_may_be_ended_by_one_that_leads_no_longer(store_url: str) -> None:
    def lost() -> int:
        raise LostLeadershipError

    store = Store(store_url, fence=lost)
    assert not note_interruption(store)
    store.close()


def test_stopping_on_purpose_interrupts_every_attempt_and_counts_against_none(
    world: World,
) -> None:
    world.submit("a")
    world.submit("b")
    world.tick()
    world.report()
    world.end(Outcome(outcome="succeeded"), job_id="b")
    world.reconciler.interrupt()
    job = world.store.job("a")
    assert (job.status, job.reason, job.num_failures) == (
        *(Status.RETRYING, Reason.INTERRUPTED, 0),
    )
    assert world.status("b") is Status.SUCCEEDED
    world.tick()
    assert world.status("a") is Status.STARTING


@pytest.mark.parametrize("is_known", [True, False])
def test_an_interruption_that_was_foretold_is_none_while_the_attempt_lives(
    world: World, is_known: bool
) -> None:
    interrupted = Outcome(outcome="failed", reason=Reason.INTERRUPTED, message="a stop")
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.store.write(lambda connection: note_verdict(connection, "a", 1, interrupted))
    world.tick(2)
    assert (world.status(), world.ray.stopped) == (Status.RUNNING, [])
    if is_known:
        world.ray.end("a-1")
    else:
        world.ray.jobs.clear()
    world.tick()
    ended = world.store.attempt("a", 1)
    assert (ended.ended_at, ended.outcome) == (world.now, interrupted)
    assert world.store.job("a").num_failures == 0


def test_an_interruption_that_an_attempt_lived_on_through_hides_no_later_failure(
    world: World,
) -> None:
    interrupted = Outcome(outcome="failed", reason=Reason.INTERRUPTED, message="a stop")
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.store.write(lambda connection: note_verdict(connection, "a", 1, interrupted))
    world.restart()
    world.tick()
    # It may report while it is about to be stopped.
    world.store.append_events("a", 1, [event_of(2)])
    world.now += timedelta(seconds=STOPPED_WITHIN_S)
    world.tick()
    assert world.store.attempt("a", 1).outcome == interrupted
    world.store.append_events("a", 1, [event_of(3)])
    world.tick()
    assert world.store.attempt("a", 1).outcome is None
    world.ray.end("a-1")
    world.tick()
    job = world.store.job("a")
    assert (job.reason, job.num_failures) == (Reason.CRASHED, 1)


def test_an_attempt_that_hangs_after_an_interruption_has_hung(world: World) -> None:
    interrupted = Outcome(outcome="failed", reason=Reason.INTERRUPTED, message="a stop")
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.store.write(lambda connection: note_verdict(connection, "a", 1, interrupted))
    world.tick()
    world.now += timedelta(minutes=2)
    world.tick()
    assert world.ray.stopped == ["a-1"]
    world.ray.end("a-1")
    world.tick()
    job = world.store.job("a")
    assert (job.reason, job.num_failures) == (Reason.HUNG, 1)
