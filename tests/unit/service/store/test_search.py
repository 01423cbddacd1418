"""Jobs by their names."""

from typing import Any

import pytest
from sqlalchemy import text

from service.access.caller import EVERYONE, Caller, Role
from service.jobs.records import UnreadableJob
from service.store.search import Found, search_jobs
from service.store.store import Store
from tests.unit.service.conftest import job_in, make_spec, now
from trainer.contract.status import Status

ANN = Caller(owner="ann", role=Role.SUBMITTER)
BOB = Caller(owner="bob", role=Role.VIEWER)


def search(store: Store, sought: str, **more: Any) -> Found:
    asked = {"labelled": (), "status": None, "seen_by": EVERYONE, "before_seq": None, "limit": 5}
    return store.read(lambda connection: search_jobs(connection, sought, **asked | more))


def ids(found: Found) -> list[str]:
    return [job.id for job in found.jobs]


@pytest.fixture
def named(store: Store) -> Store:
    for job_id, name in (("0a", "Paper on ImageNet"), ("1b", "paper again"), ("2z", "100 percent")):
        store.submit(job_id, make_spec(name=name, labels={"team": name[:1]}), now())
    return store


def test_a_part_of_a_name_finds_its_jobs_in_whatever_case_the_newest_first(named: Store) -> None:
    assert ids(search(named, " PAPER ")) == ["1b", "0a"]
    assert ids(search(named, "imagenet")) == ["0a"]
    assert ids(search(named, "nothing")) == []


@pytest.mark.parametrize("sought", ["%", "_", "\\", "'", '"', "pap%r"])
def test_what_is_sought_is_taken_as_it_is_written(named: Store, sought: str) -> None:
    assert ids(search(named, sought)) == []


def test_the_start_of_an_id_finds_it(named: Store) -> None:
    assert ids(search(named, "2")) == ["2z"]
    assert ids(search(named, "z")) == []


def test_status_and_labels_hold_as_well(named: Store) -> None:
    job_in(named, Status.RUNNING, "3d", spec=make_spec(name="paper runs"))
    assert ids(search(named, "paper", status=Status.RUNNING)) == ["3d"]
    assert ids(search(named, "paper", labelled=[("team", "p")])) == ["1b"]


def test_private_jobs_of_others_are_not_found_by_name_or_id(store: Store) -> None:
    store.submit("5e", make_spec(name="secret"), now(), by=ANN, private=True)
    for sought in ("secret", "5e", "5"):
        assert ids(search(store, sought, seen_by=BOB)) == []
        assert ids(search(store, sought, seen_by=ANN)) == ["5e"]


def test_pages_follow_each_other_and_a_search_goes_on_beyond_its_window(store: Store) -> None:
    for number in range(8):
        name = "sought" if number in {0, 1, 6} else "other"
        store.submit(f"job{number}", make_spec(name=name), now())
    first = search(store, "sought", limit=1)
    assert (ids(first), first.next_cursor) == (["job6"], first.jobs[0].seq)
    found, cursor, num_pages = [], None, 0
    while cursor is not None or num_pages == 0:
        page = search(store, "sought", before_seq=cursor, window=3)
        found += ids(page)
        cursor, num_pages = page.next_cursor, num_pages + 1
    assert found == ["job6", "job1", "job0"]
    assert num_pages == 3


@pytest.mark.parametrize("caller", [ANN, BOB])
def test_an_owners_jobs_are_found_that_the_caller_is_told_of(store: Store, caller: Caller) -> None:
    for number in range(8):
        owner = ANN if number % 2 else BOB
        store.submit(f"job{number}", make_spec(), now(), by=owner, private=number == 3)
    assert ids(search(store, "", owner="ann", seen_by=BOB)) == ["job7", "job5", "job1"]
    assert ids(search(store, "job3", owner="ann", seen_by=BOB)) == []
    assert ids(search(store, "job2", owner="ann", seen_by=BOB)) == []
    found, cursor, num_pages = [], None, 0
    while cursor is not None or num_pages == 0:
        asked = {"owner": "ann", "oldest_first": True, "before_seq": cursor, "window": 3}
        page = search(store, "", seen_by=caller, **asked)
        found += ids(page)
        cursor, num_pages = page.next_cursor, num_pages + 1
    assert found == ["job1", *(["job3"] if caller is ANN else []), "job5", "job7"]
    assert num_pages == 3


def test_a_whole_id_is_found_beyond_the_window(named: Store) -> None:
    assert ids(search(named, "0a", window=1)) == ["0a"]


def test_in_an_empty_store_nothing_is_found(store: Store) -> None:
    assert search(store, "a") == Found(jobs=[], next_cursor=None)


def test_a_job_that_cannot_be_read_hides_no_other(named: Store) -> None:
    broken = text(
        "UPDATE jobs SET spec = '{\"name\": \"paper of another release\"}' WHERE id = '0a'"
    )
    named.write(lambda connection: connection.execute(broken))
    found = search(named, "paper")
    assert ids(found) == ["1b", "0a"]
    assert isinstance(found.jobs[1], UnreadableJob)
