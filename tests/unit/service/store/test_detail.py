"""A job with what is shown beside it: what each read by itself says, by one statement."""

import json
from functools import partial

import pytest
from sqlalchemy import update

from service.access.caller import Caller, Role
from service.store.detail import Detail, read_detail
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.store.store import Store
from service.store.tables import jobs
from tests.unit.service.conftest import job_in, make_spec, now
from tests.unit.service.store.statements import statements
from trainer.contract.status import Status


def detail(store: Store, job_id: str, caller: Caller) -> Detail:
    return store.read_at_once(partial(read_detail, job_id=job_id, seen_by=caller))


def test_a_job_is_read_with_its_plan_and_attempts_by_one_statement(store: Store) -> None:
    store.submit("waits", make_spec(), now(), plan={"steps": 4})
    job_in(store, Status.RETRYING, "retries")
    for job_id, num_attempts, plan in (("waits", 0, {"steps": 4}), ("retries", 1, None)):
        with statements(store._engine) as asked:
            found = detail(store, job_id, Caller(owner=None, role=Role.ADMIN))
        assert len(asked) == 1
        assert found.job == store.job(job_id)
        assert found.attempts == store.attempts(job_id)
        assert len(found.attempts) == num_attempts
        assert (found.plan and json.loads(found.plan)) == plan


def test_who_is_not_told_of_a_job_is_not_told_that_it_cannot_be_read(store: Store) -> None:
    owner, other = (Caller(owner=name, role=Role.VIEWER) for name in ("ann", "bob"))
    store.submit("hers", make_spec(), now(), by=owner, private=True)
    damaged = update(jobs).where(jobs.c.id == "hers").values(spec={"flux": 1})
    store.write(lambda connection: connection.execute(damaged))
    with pytest.raises(JobNotFoundError):
        detail(store, "hers", other)
    with pytest.raises(UnreadableJobError):
        detail(store, "hers", owner)
    with pytest.raises(JobNotFoundError):
        detail(store, "nobodys", owner)
