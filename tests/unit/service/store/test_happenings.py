"""What happened to a job, for people."""

from service.store.happenings import newest_event, newest_events, newest_of_kinds
from service.store.store import Store
from tests.unit.service.conftest import job_in, progress, report
from trainer.contract.events import CheckpointSaved, Evaluated
from trainer.contract.status import Status

MEASURED = Evaluated(step=2, epoch=0.2, num_samples=10, loss=1.0, top1=0.5, top5=0.75)
SAVED = CheckpointSaved(
    step=2, epoch=0.2, path="p", size_bytes=1, weights_sha256="0" * 64, top1=None
)


def test_the_newest_events_come_first(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs")
    report(store, "runs", progress(1), MEASURED, SAVED)
    told = store.read(lambda connection: newest_events(connection, "runs", limit=3))
    assert [event.data.kind for event in told] == ["checkpoint", "evaluated", "status"]
    assert [event.number for event in told] == [5, 4, 3]
    assert store.read(lambda connection: newest_event(connection, "runs")) == 5


def test_events_of_some_kinds(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs")
    job_in(store, Status.QUEUED, "other")
    report(store, "runs", MEASURED, SAVED)
    kinds = ("status", "checkpoint")
    told = store.read(lambda connection: newest_of_kinds(connection, "runs", kinds, limit=3))
    assert [event.data.kind for event in told] == ["checkpoint", "status", "status"]


def test_of_no_job_there_are_none(store: Store) -> None:
    assert store.read(lambda connection: newest_event(connection, "none")) == 0
    assert store.read(lambda connection: newest_events(connection, "none", limit=9)) == []
