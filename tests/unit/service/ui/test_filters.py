"""Which jobs the table shows."""

import pytest

from service.access.caller import Caller, Role
from service.jobs.records import JobRecord
from service.store.store import Store
from service.ui.filters import FilterError, Filters
from service.ui.orders import Order
from tests.unit.service.conftest import make_spec, now
from trainer.contract.status import Status


@pytest.fixture
def job(store: Store) -> JobRecord:
    spec = make_spec(name="Paper on ImageNet", labels={"team": "vision", "on": "call me"})
    return store.submit("0a1b2c", spec, now(), by=Caller(owner="ann", role=Role.SUBMITTER))


@pytest.mark.parametrize(
    ("filters", "takes"),
    [
        (Filters(), True),
        (Filters(status=Status.QUEUED), True),
        (Filters(status=Status.RUNNING), False),
        (Filters(label="team=vision, on=call me"), True),
        (Filters(label="team=core"), False),
        (Filters(q=" imagenet "), True),
        (Filters(q="0a1"), True),
        (Filters(q="a1b"), False),
        (Filters(owner="ann"), True),
        (Filters(owner="bob"), False),
        (Filters(cursor=1), True),
    ],
)
def test_a_job_is_shown_where_all_that_is_asked_for_fits(
    job: JobRecord, filters: Filters, takes: bool
) -> None:
    assert filters.takes(job) is takes


@pytest.mark.parametrize(
    "label", ["team", "Team=vision", "team=<b>", ",".join("a=1" + str(n) for n in range(17))]
)
def test_labels_that_cannot_be_asked_for_are_refused_and_how_to_write_them_is_said(
    label: str,
) -> None:
    with pytest.raises(FilterError, match="KEY=VALUE"):
        _ = Filters(label=label).labels


def test_an_address_has_what_is_asked_for_and_no_more() -> None:
    filters = Filters(status=Status.RUNNING, label="a=b c", q="x&y")
    assert filters.query() == "?status=RUNNING&label=a%3Db+c&q=x%26y"
    assert Filters().query() == ""
    assert Filters(label=" ", cursor=3).is_any
    assert not filters.is_any
    assert not Filters(owner="ann").is_any
    mine = Filters(owner="ann", order=Order.TOP1, ticked=("a", "b"))
    assert mine.query() == "?owner=ann&order=top1&job=a&job=b"


def test_a_page_is_turned_to_where_it_is_of_the_same_jobs_in_the_same_order() -> None:
    shown = Filters(label="a=b", q="name")
    page = shown.page(7)
    assert shown.turned_to(page) == Filters(label="a=b", q="name", cursor=7)
    assert shown.turned_to(page).query() == f"{shown.query()}&cursor={page}"
    # What is ticked, and which page is left, is no matter.
    assert Filters(label="a=b ", q="name", ticked=("x",), cursor=4).turned_to(page).cursor == 7
    for other in (Filters(), Filters(label="a=b", q="name", order=Order.TOP1), Filters(q="a=b")):
        assert other.turned_to(page) == other


@pytest.mark.parametrize("number", ["0", "-1", "7", "7-", "", "٣", "2147483648", "9" * 5000])
def test_of_what_is_no_page_the_first_is_shown(number: str) -> None:
    mark = Filters().page(7).removeprefix("7")
    for page in (number, number + mark if number != "7" else ""):
        assert Filters(cursor=3).turned_to(page).cursor is None
