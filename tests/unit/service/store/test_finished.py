from service.store.finished import newest_evaluations
from service.store.jobs import read_plans
from service.store.store import Store
from tests.unit.service.conftest import job_in, make_spec, now, progress, report
from tests.unit.service.submission.test_duration import evaluated
from trainer.contract.status import Status


def test_evaluations_are_read_the_newest_first(store: Store) -> None:
    job_in(store, Status.RUNNING, "one")
    told = [evaluated("centre_crop", float(step), step=step) for step in (1, 2, 3)]
    report(store, "one", told[0], progress(1), told[1], told[2])
    job_in(store, Status.RUNNING, "other")
    report(store, "other", told[0])
    read = store.read(lambda connection: newest_evaluations(connection, "one", 2))
    assert read == [told[2], told[1]]


def test_plans_are_read_of_jobs_that_have_any(store: Store) -> None:
    store.submit("planned", make_spec(), now(), plan={"steps": 3})
    store.submit("unplanned", make_spec(), now())
    store.submit("not asked for", make_spec(), now(), plan={"steps": 4})
    ids = ["planned", "unplanned", "gone"]
    plans = store.read(lambda connection: read_plans(connection, ids))
    assert {job_id: plan.replace(" ", "") for job_id, plan in plans.items()} == {
        "planned": '{"steps":3}'
    }
    assert store.read(lambda connection: read_plans(connection, [])) == {}
