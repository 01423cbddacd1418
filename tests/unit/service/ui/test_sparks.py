"""Lines the size of a word."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store.store import Store
from service.ui.sparks import HEIGHT, WIDTH, Sparks, polyline
from tests.unit.service.conftest import job_in, progress, report
from trainer.contract.status import Status


@given(st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=2, max_size=40))
def test_a_line_goes_from_edge_to_edge_and_lies_within(values: list[float]) -> None:
    pairs = [tuple(map(float, one.split(","))) for one in polyline(values).split(" ")]
    assert len(pairs) == len(values)
    assert (pairs[0][0], pairs[-1][0]) == (0, WIDTH)
    assert all(0 <= y <= HEIGHT for _, y in pairs)
    assert pairs[values.index(max(values))][1] == min(y for _, y in pairs)


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, 1.0], [math.inf, -math.inf]])
def test_where_there_are_not_two_points_there_is_no_line(values: list[float]) -> None:
    assert polyline(values) == ""


def lines_of(store: Store, sparks: Sparks, *ids: str) -> dict[str, str]:
    jobs = [store.job(job_id) for job_id in ids]
    return dict(store.read(lambda connection: sparks.read(connection, jobs)))


def test_a_line_grows_with_its_job_now_and_then(store: Store) -> None:
    clock = [0.0]
    sparks = Sparks(clock=lambda: clock[0])
    job_in(store, Status.RUNNING, "runs")
    job_in(store, Status.QUEUED, "waits")
    report(store, "runs", progress(10, loss=3.0), progress(20, loss=2.0))
    before = lines_of(store, sparks, "runs", "waits")
    assert before.keys() == {"runs"}
    assert before["runs"].startswith("0.0,2.0")
    report(store, "runs", progress(30, loss=9.0))
    assert lines_of(store, sparks, "runs") == before
    clock[0] = 60.0
    assert lines_of(store, sparks, "runs")["runs"].endswith("100.0,2.0")
