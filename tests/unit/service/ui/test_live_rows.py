"""Which rows have changed."""

from collections.abc import Sequence

import pytest
from sqlalchemy import delete, update

from service.access.caller import EVERYONE, Caller, Role
from service.jobs.records import JobRecord
from service.store.store import Store
from service.store.tables import events, jobs
from service.ui.filters import Filters
from service.ui.live_rows import LiveRows
from service.ui.orders import Order
from service.ui.rows import job_row
from tests.unit.service.conftest import bring_to, job_in, make_spec, now, progress, report
from trainer.contract.status import Status

ANN = Caller(owner="ann", role=Role.SUBMITTER)
PAGE = 3


class Rows:
    """Rows of a store, with what was read of jobs by themselves."""

    def __init__(
        self, store: Store, caller: Caller = EVERYONE, filters: Filters | None = None
    ) -> None:
        self.read: list[str] = []
        asked = filters or Filters()

        def page() -> tuple[Sequence[JobRecord], int | None]:
            found = store.jobs(
                seen_by=caller, status=asked.status, before_seq=asked.cursor, limit=PAGE + 1
            )
            older = found[PAGE - 1].seq if len(found) > PAGE else None
            return [one for one in found[:PAGE] if isinstance(one, JobRecord)], older

        def job(job_id: str) -> JobRecord:
            self.read.append(job_id)
            return store.job(job_id)

        self.look = LiveRows(
            caller=caller,
            filters=asked,
            page=page,
            live=store.live_jobs,
            job=job,
            rows=lambda found: [job_row(one, caller) for one in found],
        )

    def told(self) -> list[str]:
        """Return what the next look tells: ids of elements, with a minus where they are gone."""
        look = self.look()
        assert not look.is_last
        return [
            one.target.replace("job-", "-" if one.kind == "gone" else "") for one in look.changes
        ]


def test_the_page_comes_first_and_then_what_changes(store: Store) -> None:
    job_in(store, Status.SUCCEEDED, "done")
    job_in(store, Status.RUNNING, "runs")
    rows = Rows(store)
    assert rows.told() == ["done", "runs"]
    assert rows.told() == []
    report(store, "runs", progress(10))
    assert rows.told() == ["runs"]
    assert rows.told() == []


def test_a_job_that_ends_is_read_once_and_never_again(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs")
    rows = Rows(store)
    rows.told()
    bring_to(store, store.job("runs"), Status.SUCCEEDED)
    assert rows.told() == ["runs"]
    assert rows.told() == []
    assert rows.read == ["runs"]


def test_a_new_job_is_put_above_the_others_unless_an_older_page_is_shown(store: Store) -> None:
    job_in(store, Status.RUNNING, "old")
    newest, older = Rows(store), Rows(store, filters=Filters(cursor=2))
    assert newest.told() == older.told() == ["old"]
    job_in(store, Status.QUEUED, "first")
    job_in(store, Status.QUEUED, "second")
    look = newest.look()
    assert [one.target for one in look.changes] == ["job-first", "job-second"]
    assert {one.into for one in look.changes} == {"jobs"}
    assert older.told() == []


@pytest.mark.parametrize("order", [one for one in Order if one is not Order.NEWEST])
def test_in_another_order_rows_change_in_their_places_and_none_comes(
    store: Store, order: Order
) -> None:
    job_in(store, Status.RUNNING, "runs")
    rows = Rows(store, filters=Filters(order=order))
    rows.told()
    job_in(store, Status.QUEUED, "new")
    report(store, "runs", progress(10))
    (change,) = rows.look().changes
    assert (change.target, change.into) == ("job-runs", None)


def test_what_lies_below_a_full_page_is_not_told(store: Store) -> None:
    job_in(store, Status.RUNNING, "below")
    for number in range(PAGE):
        job_in(store, Status.QUEUED, f"job{number}")
    rows = Rows(store)
    assert rows.told() == ["job0", "job1", "job2"]
    report(store, "below", progress(10))
    assert rows.told() == []


def test_what_lies_below_a_page_of_which_one_cannot_be_read_is_not_told(store: Store) -> None:
    job_in(store, Status.RUNNING, "below")
    for number in range(PAGE):
        job_in(store, Status.QUEUED, f"job{number}")
    broken = update(jobs).where(jobs.c.id == "job1").values(spec={"name": 1})
    store.write(lambda connection: connection.execute(broken))
    rows = Rows(store)
    assert rows.told() == ["job0", "job2"]
    report(store, "below", progress(10))
    assert rows.told() == []


def test_a_filtered_page_shows_a_job_that_comes_to_fit(store: Store) -> None:
    job = job_in(store, Status.STARTING, "one")
    rows = Rows(store, filters=Filters(status=Status.RUNNING))
    assert rows.told() == []
    bring_to(store, job, Status.RUNNING)
    assert rows.told() == ["one"]
    bring_to(store, store.job("one"), Status.FAILED)
    assert rows.told() == ["one"]


def test_private_jobs_of_others_are_not_told_of(store: Store) -> None:
    rows = Rows(store, caller=ANN)
    bob = Caller(owner="bob", role=Role.SUBMITTER)
    store.submit("hidden", make_spec(), now(), by=bob, private=True)
    store.submit("seen", make_spec(), now(), by=bob)
    store.submit("own", make_spec(), now(), by=ANN, private=True)
    assert rows.told() == ["seen", "own"]
    store.submit("hidden2", make_spec(), now(), by=bob, private=True)
    assert rows.told() == []


def test_a_deleted_job_is_gone(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs")
    rows = Rows(store)
    rows.told()
    store.write(lambda connection: connection.execute(delete(events)))
    store.write(lambda connection: connection.exec_driver_sql("DELETE FROM attempts"))
    store.write(lambda connection: connection.execute(delete(jobs)))
    assert rows.told() == ["-runs"]
    assert rows.told() == []


@pytest.mark.parametrize("message", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_what_others_wrote_is_text_in_a_row(store: Store, message: str) -> None:
    job_in(store, Status.QUEUED, "one")
    store.note_wait("one", message)
    (change,) = Rows(store).look().changes
    assert change.html is not None
    assert "<script" not in change.html
    assert "<img" not in change.html
