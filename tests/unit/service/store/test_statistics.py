import pytest

from service.store.statistics import statistics
from service.store.store import Store
from tests.unit.service.store.statements import scanned, statements


@pytest.mark.parametrize("database", ["sqlite"], scope="module")
def test_what_is_asked_of_jobs_that_live_goes_through_no_others(store: Store) -> None:
    with statements(store._engine) as asked:
        store.read(statistics)
    of_live = [
        one for one in asked if "evaluation IS NOT NULL" in one[0] or "checkpoints" in one[0]
    ]
    assert len(of_live) == 2
    assert scanned(store, "jobs", of_live) == []
