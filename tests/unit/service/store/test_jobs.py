"""Pages of jobs: together they are all that the caller is told of, once each, in order."""

import itertools
import random
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from service.access.caller import Caller, Ownership, Role
from service.jobs.records import JobRecord
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.store.jobs import known_jobs, read_job, read_planned_speeds
from service.store.store import Store
from service.store.tables import jobs
from tests.unit.service.conftest import job_in, make_spec, now
from tests.unit.service.databases import Databases
from tests.unit.service.store.statements import plan_of, statements
from trainer.contract.status import Status

OWNERS = (None, "ann", "bob")
LABELS = tuple(itertools.product(("team", "on"), ("a", "b")))
STATUSES = (Status.QUEUED, Status.SUCCEEDED, Status.FAILED)
UNREADABLE = "j7"
NUM_JOBS = 48


class Stored:
    """A store with jobs of many kinds, and what each of them is."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.labels: dict[str, dict[str, str]] = {}
        self.status: dict[str, Status] = {}
        self.ownership: dict[str, Ownership] = {}
        draw = random.Random(0)
        for number in range(NUM_JOBS):
            job_id = f"j{number}"
            labels = dict(draw.sample(LABELS, k=draw.randint(0, len(LABELS))))
            owner, private = draw.choice(OWNERS), draw.random() < 0.5
            by = Caller(owner=owner, role=Role.ADMIN)
            store.submit(job_id, make_spec(labels=labels), now(), by=by, private=private)
            self.labels[job_id] = labels
            self.status[job_id] = draw.choice(STATUSES)
            self.ownership[job_id] = Ownership(owner=owner, private=private)
        for job_id, status in self.status.items():
            self._set(job_id, status=status)
        self._set(UNREADABLE, spec={"flux": 1})

    def _set(self, job_id: str, **values: object) -> None:
        changed = update(jobs).where(jobs.c.id == job_id).values(**values)
        self.store.write(lambda connection: connection.execute(changed))


@pytest.fixture(scope="module")
def stored(databases: Databases) -> Iterator[Stored]:
    with closing(Store(databases.migrated())) as store:
        yield Stored(store)


@given(
    status=st.none() | st.sampled_from(STATUSES),
    labels=st.lists(st.sampled_from(LABELS), max_size=3, unique=True),
    caller=st.builds(Caller, owner=st.sampled_from(OWNERS), role=st.sampled_from(Role)),
    owner=st.sampled_from(OWNERS),
    oldest_first=st.booleans(),
    limit=st.integers(1, NUM_JOBS + 1),
)
def test_pages_together_are_all_that_is_asked_for_once_each_by_age(
    stored: Stored,
    *,
    status: Status | None,
    labels: list[tuple[str, str]],
    caller: Caller,
    owner: str | None,
    oldest_first: bool,
    limit: int,
) -> None:
    found: list[str] = []
    before_seq = None
    while True:
        page = stored.store.jobs(
            status=status,
            labels=labels,
            owner=owner,
            seen_by=caller,
            before_seq=before_seq,
            oldest_first=oldest_first,
            limit=limit,
        )
        assert len(page) <= limit
        assert all(isinstance(job, JobRecord) == (job.id != UNREADABLE) for job in page)
        found += [job.id for job in page]
        if len(page) < limit:
            break
        before_seq = page[-1].seq
    by_age = stored.labels if oldest_first else reversed(stored.labels)
    assert found == [
        job_id
        for job_id in by_age
        if status in {None, stored.status[job_id]}
        and owner in {None, stored.ownership[job_id].owner}
        and set(labels) <= stored.labels[job_id].items()
        and caller.may_see(stored.ownership[job_id])
    ]


@given(
    job_id=st.sampled_from([f"j{number}" for number in range(NUM_JOBS + 1)]),
    caller=st.builds(Caller, owner=st.sampled_from(OWNERS), role=st.sampled_from(Role)),
)
def test_a_job_is_read_by_those_who_are_told_of_it(
    stored: Stored, job_id: str, caller: Caller
) -> None:
    def read() -> JobRecord:
        return stored.store.read(lambda connection: read_job(connection, job_id, seen_by=caller))

    if job_id not in stored.ownership or not caller.may_see(stored.ownership[job_id]):
        with pytest.raises(JobNotFoundError):
            read()
    elif job_id == UNREADABLE:
        with pytest.raises(UnreadableJobError):
            read()
    else:
        assert read() == stored.store.job(job_id)


@pytest.mark.parametrize(
    ("status", "labels", "index"),
    [
        (Status.FAILED, [], "ix_jobs_status_seq"),
        (None, LABELS[:2], "ix_labels_key_value_job_seq"),
        (Status.FAILED, LABELS[:1], "ix_labels_key_value_job_seq"),
        # Fewer have succeeded than have the label.
        (Status.SUCCEEDED, LABELS[:1], "ix_jobs_status_seq"),
        # Most jobs have ended: those of a label that have not are far between.
        (Status.QUEUED, LABELS[:2], "ix_jobs_status_seq"),
    ],
)
def test_a_page_is_cut_from_an_index_and_not_sorted(
    stored: Stored, status: Status | None, labels: list[tuple[str, str]], index: str
) -> None:
    with statements(stored.store._engine) as asked:
        stored.store.jobs(status=status, labels=labels, before_seq=40, limit=5)
    if stored.store._engine.dialect.name != "sqlite":
        pytest.skip("about the plans of SQLite")
    (first, *rest) = plan_of(stored.store, asked[-1])
    assert f"USING INDEX {index}" in first
    assert not any("TEMP B-TREE" in step for step in rest)


@pytest.mark.parametrize(
    ("status", "index"),
    [(None, "ix_jobs_owner_seq"), (Status.SUCCEEDED, "ix_jobs_owner_status_seq")],
)
@pytest.mark.parametrize("caller", [None, "bob"])
def test_a_page_of_an_owner_passes_over_no_others_whoever_asks(
    stored: Stored, caller: str | None, status: Status | None, index: str
) -> None:
    asks = Caller(owner=caller, role=Role.VIEWER)
    with statements(stored.store._engine) as asked:
        stored.store.jobs(owner="ann", status=status, seen_by=asks, before_seq=40, limit=5)
    if stored.store._engine.dialect.name != "sqlite":
        pytest.skip("about the plans of SQLite")
    (only,) = plan_of(stored.store, asked[-1])
    assert f"USING INDEX {index}" in only


def test_a_page_and_a_job_are_one_statement_each_which_none_begins_or_ends(stored: Stored) -> None:
    for read in (lambda: stored.store.jobs(before_seq=4, limit=3), lambda: stored.store.job("j1")):
        with statements(stored.store._engine) as asked:
            read()
        assert [text.split(None, 1)[0] for text, _ in asked] == ["SELECT"]


def test_of_a_plan_without_a_speed_none_is_read(store: Store) -> None:
    store.submit("without", make_spec(), now(), plan={"steps": 4})
    assert store.read(lambda connection: read_planned_speeds(connection, ["without"])) == {}


def test_jobs_are_known_though_they_have_ended(store: Store) -> None:
    job_in(store, Status.SUCCEEDED, "ended")
    job_in(store, Status.QUEUED, "waits")
    ids = {"ended", "waits", "another"}
    assert store.read(lambda connection: known_jobs(connection, ids)) == {"ended", "waits"}
