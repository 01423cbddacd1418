"""Whose jobs are listed to whom: the condition in SQL is the decision in Python."""

import itertools

import pytest

from service.access.caller import Caller, Role
from service.jobs.records import JobRecord
from service.store.errors import JobNotFoundError
from service.store.ownership import ownership
from service.store.store import Store
from tests.unit.service.conftest import make_spec, now

OWNERS = (None, "ann", "bob")


def test_a_list_has_what_its_reader_may_see(store: Store) -> None:
    for number, (owner, private) in enumerate(itertools.product(OWNERS, (False, True))):
        by = Caller(owner=owner, role=Role.ADMIN)
        store.submit(f"j{number}", make_spec(), now(), by=by, private=private)
    every = [job for job in store.jobs(limit=100) if isinstance(job, JobRecord)]
    assert len(every) == 6
    for owner, role in itertools.product(OWNERS, Role):
        caller = Caller(owner=owner, role=role)
        seen = store.jobs(seen_by=caller, limit=100)
        assert [job.id for job in seen] == [
            job.id for job in every if caller.may_see(job.ownership)
        ]


def test_whose_a_job_is_is_told_of_one_that_there_is(store: Store) -> None:
    job = store.submit(
        "a", make_spec(), now(), by=Caller(owner="ann", role=Role.ADMIN), private=True
    )
    found = store.read(lambda connection: ownership(connection, "a"))
    assert found == job.ownership
    assert (found.owner, found.private) == ("ann", True)
    with pytest.raises(JobNotFoundError):
        store.read(lambda connection: ownership(connection, "b"))
