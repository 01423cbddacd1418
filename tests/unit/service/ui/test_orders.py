"""In which order jobs are shown."""

import pytest

from service.jobs.records import JobRecord
from service.store.store import Store
from service.ui.orders import SHOWN, Order, in_order
from tests.unit.service.conftest import job_in, make_spec, progress, report
from trainer.contract.events import Evaluated
from trainer.contract.status import Status


@pytest.fixture
def jobs(store: Store) -> list[JobRecord]:
    """One that waits, one that has begun, and one that is far on."""
    job_in(store, Status.QUEUED, "waits", spec=make_spec(priority=2))
    job_in(store, Status.RUNNING, "begun", spec=make_spec(priority=-1))
    report(store, "begun", progress(10, loss=2.0, images_per_second=300))
    job_in(store, Status.RUNNING, "far")
    measured = Evaluated(step=80, epoch=8, num_samples=9, loss=1.0, top1=0.6, top5=0.8)
    report(store, "far", progress(80, loss=1.0, images_per_second=100), measured)
    return store.live_jobs()


@pytest.mark.parametrize(
    ("order", "ids"),
    [
        (Order.PRIORITY, ["waits", "far", "begun"]),
        (Order.PROGRESS, ["far", "begun", "waits"]),
        (Order.SPEED, ["begun", "far", "waits"]),
        (Order.TIME_LEFT, ["far", "begun", "waits"]),
        (Order.LOSS, ["far", "begun", "waits"]),
        # Of those that have none the newest is first.
        (Order.TOP1, ["far", "begun", "waits"]),
    ],
)
def test_jobs_are_sorted_by_their_figures_and_those_without_are_last(
    jobs: list[JobRecord], order: Order, ids: list[str]
) -> None:
    assert [job.id for job in in_order(jobs, order)] == ids
    assert [job.id for job in in_order(reversed(jobs), order)] == ids


def test_every_order_can_be_chosen_and_only_age_sorts_jobs_that_have_ended() -> None:
    assert set(SHOWN) == set(Order)
    assert {one for one in Order if not one.is_of_live} == {Order.NEWEST, Order.OLDEST}
