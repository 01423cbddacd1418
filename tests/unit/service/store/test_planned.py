"""What was foreseen of jobs."""

import pytest

from service.store.planned import read_planned_samples
from service.store.store import Store
from tests.unit.service.conftest import make_spec, now


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({"num_samples": 1_281_167}, 1_281_167),
        (None, None),
        ({}, None),
        ({"num_samples": None}, None),
        ({"num_samples": "many"}, None),
        ({"num_samples": -1}, None),
    ],
)
def test_samples_are_those_of_the_plan_where_it_tells_them(
    store: Store, plan: dict[str, object] | None, told: int | None
) -> None:
    store.submit("a", make_spec(), now(), plan=plan)
    store.submit("b", make_spec(), now(), plan={"num_samples": 7})
    assert store.read(lambda connection: read_planned_samples(connection, "a")) == told
    assert store.read(lambda connection: read_planned_samples(connection, "nothing")) is None
