from service.reconciling.interruption import note_interruption
from service.reconciling.reconciler import INTERRUPTED
from service.store.attempts import note_verdict
from service.store.leases import LostLeadershipError
from service.store.store import Store
from tests.unit.service.conftest import job_in
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
