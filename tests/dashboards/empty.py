"""Which panels show nothing of the job that the tests run, and why; of all others data is asked."""

from tests.dashboards.checked_in import PanelQuery

NO_GPU = "it trains on CPUs"
NO_CACHE = "its shards are local files"
NO_FAILURE = "none of its attempts failed"
NO_ALERT = "no alert fires"

EMPTY = {
    ("fleet", "GPU busy"): NO_GPU,
    ("fleet", "GPU busy by node"): NO_GPU,
    ("fleet", "GPU memory"): NO_GPU,
    ("job", "GPU busy"): NO_GPU,
    ("job", "GPU memory"): NO_GPU,
    ("job", "GPU power"): NO_GPU,
    ("data", "Requests to the cache"): NO_CACHE,
    ("data", "Cache hits"): NO_CACHE,
    ("fleet", "Restarts in an hour"): NO_FAILURE,
    ("fleet", "Alerts that fire"): NO_ALERT,
}


def may_be_empty(query: PanelQuery) -> bool:
    """Say whether there is nothing to show."""
    return (query.dashboard, query.panel) in EMPTY
