from collections.abc import Callable
from contextlib import closing

import pytest
from sqlalchemy import update

from service.access.caller import EVERYONE
from service.jobs.editing import Edit
from service.jobs.lifecycle import Decision
from service.jobs.records import JobRecord
from service.store.editing import edit_job
from service.store.store import Store
from service.store.tables import jobs
from tests.unit.service.conftest import job_in, now, progress, report
from tests.unit.service.store.statements import scanned, statements
from trainer.contract.status import Desired, Status


def read_anew(store_url: str) -> list[JobRecord]:
    with closing(Store(store_url)) as other:
        return other.live_jobs()


def test_what_is_remembered_is_what_is_stored_after_every_change(
    store: Store, store_url: str
) -> None:
    for job_id in ("a", "b", "c"):
        job_in(store, Status.QUEUED, job_id)
    running = job_in(store, Status.RUNNING, "runs")
    job_in(store, Status.PAUSED, "paused")
    changes: list[Callable[[], object]] = [
        lambda: store.ask("a", Desired.PAUSE),
        lambda: store.write(
            lambda connection: edit_job(
                connection, "b", Edit(priority=3, labels={"k": "v"}), EVERYONE, now()
            )
        ),
        lambda: store.ask("paused", Desired.RUN, replicas=2),
        lambda: store.note_wait("c", "waits"),
        lambda: report(store, "runs", progress(7)),
        lambda: store.apply(running, Decision(status=Status.SUCCEEDED), now()),
        lambda: job_in(store, Status.QUEUED, "new"),
    ]
    before = store.live_jobs()
    for change in changes:
        change()
        found = store.live_jobs()
        assert found != before
        assert found == read_anew(store_url)
        # Nothing else was read again.
        assert len({id(job) for job in found} - {id(job) for job in before}) <= 1
        before = found
    assert [job.id for job in before] == ["a", "b", "c", "paused", "new"]
    again = store.live_jobs()
    assert all(one is other for one, other in zip(before, again, strict=True))


def test_a_spec_is_read_again_only_where_it_has_changed(store: Store, store_url: str) -> None:
    job_in(store, Status.RUNNING, "runs")
    job_in(store, Status.PAUSED, "paused")
    before = {job.id: job.spec for job in store.live_jobs()}
    report(store, "runs", progress(7))
    store.ask("paused", Desired.RUN, replicas=2)
    after = {job.id: job.spec for job in store.live_jobs()}
    assert after["runs"] is before["runs"]
    assert after["paused"].scale.replicas == 2 != before["paused"].scale.replicas
    assert store.live_jobs() == read_anew(store_url)


def test_a_job_that_can_no_longer_be_read_hides_no_other(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs")
    job_in(store, Status.RUNNING, "odd")
    store.live_jobs()
    report(store, "runs", progress(7))
    broken = update(jobs).where(jobs.c.id == "odd").values(progress={"kind": "progress"})
    store.write(lambda connection: connection.execute(broken))
    (found,) = store.live_jobs()
    assert found.id == "runs"
    assert found.progress is not None
    assert found.progress.step == 7


@pytest.mark.parametrize("database", ["sqlite"], scope="module")
def test_jobs_that_have_ended_are_not_gone_through(store: Store) -> None:
    with statements(store._engine) as asked:
        store.live_jobs()
    assert asked
    assert scanned(store, "jobs", asked) == []
