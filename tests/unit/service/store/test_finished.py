from collections.abc import Iterator
from contextlib import closing

import pytest

from service.access.caller import Caller, Ownership, Role, may_name
from service.store import finished
from service.store.finished import newest_evaluations, newest_succeeded
from service.store.jobs import read_planned_speeds
from service.store.store import Store
from tests.unit.service.conftest import bring_to, job_in, make_spec, now, progress, report
from tests.unit.service.databases import Databases, change
from tests.unit.service.store.statements import plan_of, statements
from tests.unit.service.submission.test_duration import evaluated
from trainer.contract.status import Status

PUBLIC = Ownership(owner="ann")
# What each job is of, the oldest first: its kind, its owner, and whether it is private.
JOBS = {
    f"{kind} {owner} {private}": (kind, Ownership(owner=owner, private=private))
    for kind in ("train", "evaluate", "calibrate")
    for owner in ("ann", "bob")
    for private in (False, True)
}


@pytest.fixture(scope="module")
def jobs_of_two(databases: Databases) -> Iterator[Store]:
    """Give a store with jobs that have succeeded, and one that has not."""
    with closing(Store(databases.migrated())) as store:
        for job_id, (kind, of) in JOBS.items():
            evaluation = {"checkpoints": ["job:a"]} if kind == "evaluate" else {}
            spec = make_spec(kind=kind, evaluation=evaluation)
            by = Caller(owner=of.owner, role=Role.ADMIN)
            queued = store.submit(job_id, spec, now(), by=by, private=of.private)
            bring_to(store, queued, Status.SUCCEEDED)
        job_in(store, Status.FAILED, "failed")
        yield store


def ids(store: Store, limit: int, *, named_by: Ownership, kinds: tuple[str, ...]) -> list[str]:
    read = store.read(
        lambda connection: newest_succeeded(connection, limit, kinds=kinds, named_by=named_by)
    )
    return [one.job.id for one in read]


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("kinds", [("train",), ("train", "calibrate")])
@pytest.mark.parametrize(
    "named_by",
    [
        PUBLIC,
        Ownership(owner="ann", private=True),
        Ownership(owner="bob", private=True),
        Ownership(owner=None, private=True),
    ],
)
def test_as_many_are_read_as_are_asked_for_however_many_others_are_newer(
    jobs_of_two: Store, named_by: Ownership, kinds: tuple[str, ...], limit: int
) -> None:
    wanted = [
        job_id
        for job_id, (kind, of) in reversed(JOBS.items())
        if kind in kinds and may_name(named_by, of)
    ]
    assert ids(jobs_of_two, limit, named_by=named_by, kinds=kinds) == wanted[:limit]


def test_no_more_are_passed_over_than_is_set(
    jobs_of_two: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the public ones the newest four are two calibrations and two evaluations.
    monkeypatch.setattr(finished, "_MOST_PASSED_OVER", 4)
    assert ids(jobs_of_two, 9, named_by=PUBLIC, kinds=("train",)) == []
    monkeypatch.setattr(finished, "_MOST_PASSED_OVER", 5)
    assert ids(jobs_of_two, 9, named_by=PUBLIC, kinds=("train",)) == ["train bob False"]


@pytest.mark.parametrize("private", [False, True])
def test_they_are_read_from_indexes(jobs_of_two: Store, database: str, private: bool) -> None:
    named_by = Ownership(owner="ann", private=private)
    with statements(jobs_of_two._engine) as asked:
        ids(jobs_of_two, 9, named_by=named_by, kinds=("train",))
    if database == "sqlite":
        (query,) = [one for one in asked if "FROM jobs" in one[0]]
        steps = plan_of(jobs_of_two, query)
        assert not [step for step in steps if step.startswith("SCAN jobs")]
        assert any("ix_jobs_private_status_seq" in step for step in steps)
        assert any("ix_jobs_owner_status_seq" in step for step in steps) == private


@pytest.mark.parametrize("damaged", ["{torn", '{"kind": "train", "flux": 1}'])
def test_one_that_cannot_be_read_hides_no_other(store: Store, store_url: str, damaged: str) -> None:
    for job_id in ("whole", "damaged"):
        job_in(store, Status.SUCCEEDED, job_id)
    change(store_url, "UPDATE jobs SET spec = :it WHERE id = 'damaged'", it=damaged)
    assert ids(store, 9, named_by=PUBLIC, kinds=("train",)) == ["whole"]


def test_evaluations_are_read_the_newest_first(store: Store) -> None:
    job_in(store, Status.RUNNING, "one")
    told = [evaluated("centre_crop", float(step), step=step) for step in (1, 2, 3)]
    report(store, "one", told[0], progress(1), told[1], told[2])
    job_in(store, Status.RUNNING, "other")
    report(store, "other", told[0])
    read = store.read(lambda connection: newest_evaluations(connection, "one", 2))
    assert read == [told[2], told[1]]


@pytest.mark.parametrize("damaged", ["{torn", '{"kind": "evaluated", "top1": "good"}'])
def test_an_evaluation_that_cannot_be_read_hides_no_other(
    store: Store, store_url: str, damaged: str
) -> None:
    job_in(store, Status.RUNNING, "one")
    told = [evaluated("centre_crop", float(step), step=step) for step in (1, 2, 3)]
    report(store, "one", *told)
    newest = "(SELECT max(number) FROM events)"
    change(store_url, f"UPDATE events SET data = :it WHERE number = {newest}", it=damaged)
    read = store.read(lambda connection: newest_evaluations(connection, "one", 2))
    assert read == [told[1], told[0]]


def test_speeds_are_read_of_jobs_whose_plans_have_any(store: Store) -> None:
    store.submit("planned", make_spec(), now(), plan={"speed": {"duration_s": 3}})
    store.submit("unplanned", make_spec(), now())
    store.submit("not asked for", make_spec(), now(), plan={"speed": {"duration_s": 4}})
    ids = ["planned", "unplanned", "gone"]
    speeds = store.read(lambda connection: read_planned_speeds(connection, ids))
    assert {job_id: speed.replace(" ", "") for job_id, speed in speeds.items()} == {
        "planned": '{"duration_s":3}'
    }
    assert store.read(lambda connection: read_planned_speeds(connection, [])) == {}
