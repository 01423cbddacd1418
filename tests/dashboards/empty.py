"""Which panels show nothing of the tests' jobs, and why; of all others data is asked."""

from tests.dashboards.checked_in import PanelQuery

NO_GPU = "they train on CPUs"
NO_ALERT = "no alert fires"

EMPTY = {
    ("fleet", "GPU busy"): NO_GPU,
    ("fleet", "GPU busy by node"): NO_GPU,
    ("fleet", "GPU memory"): NO_GPU,
    ("job", "GPU busy"): NO_GPU,
    ("job", "GPU memory"): NO_GPU,
    ("job", "GPU power"): NO_GPU,
    ("fleet", "Alerts that fire"): NO_ALERT,
}


def may_be_empty(query: PanelQuery) -> bool:
    """Say whether there is nothing to show."""
    return (query.dashboard, query.panel) in EMPTY
