"""Every query of the checked-in dashboards and rules, asked of a real Prometheus beside real jobs.

In order: what is seen of the job while it trains, then it is held up.
"""

import os
import signal
import urllib.parse

import pytest

from tests.dashboards.checked_in import (
    DASHBOARDS,
    METRIC,
    alerts,
    metrics,
    panel_queries,
    rules,
)
from tests.dashboards.conftest import HASTENED, Watched
from tests.dashboards.empty import EMPTY, may_be_empty
from tests.waiting import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

# What there is of GPUs is seen where there are any; of its names a test asks Ray's own sources.
OF_GPUS = "ray_node_g"


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_every_panel_is_answered_with_data(watched: Watched, dashboard: str) -> None:
    asked = [query for query in panel_queries() if query.dashboard == dashboard]
    # Those that may be empty are answered too: an error, or a warning, would have raised.
    empty = [query for query in asked if not watched.asked(query)]
    assert [str(query) for query in empty if not may_be_empty(query)] == []


def test_what_may_be_empty_is_on_a_dashboard() -> None:
    shown = {(query.dashboard, query.panel) for query in panel_queries()}
    assert EMPTY.keys() <= shown


def test_pickers_name_the_job(watched: Watched) -> None:
    for dashboard in DASHBOARDS.values():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                query = variable["query"]["query"]
                metric, label = query.removeprefix("label_values(").removesuffix(")").split(", ")
                assert METRIC.fullmatch(metric)
                assert watched.job_id in watched.prometheus.label_values(label, metric)


def test_every_rule_is_computed_without_error(watched: Watched) -> None:
    def computed() -> bool:
        return all(rule["lastEvaluation"][:4] != "0001" for rule in watched.prometheus.rules())

    wait_for("every rule to be computed", computed, timeout_s=20)
    found = watched.prometheus.rules()
    assert {rule["name"] for rule in found} == {
        rule.get("alert", rule.get("record")) for rule in rules()
    }
    assert [rule for rule in found if rule["health"] != "ok" or rule.get("lastError")] == []


def test_every_alert_is_answered_and_made_of_what_there_is(watched: Watched) -> None:
    for alert in alerts().values():
        watched.prometheus.ask(alert["expr"])
    asked = set().union(*(metrics(rule["expr"]) for rule in rules()))
    asked |= {name for query in panel_queries() for name in metrics(query.expr)} - {"ALERTS"}
    missing = {name for name in asked if not name.startswith(OF_GPUS)}

    def all_are_there() -> bool:
        # A scrape may fail where the machine is busy, and the next one succeed.
        missing.difference_update(
            [name for name in missing if watched.prometheus.ask(f"count({name})")]
        )
        return not missing

    wait_for(f"what is in {missing}", all_are_there, timeout_s=60, every_s=1)


def test_everything_that_is_scraped_answers(watched: Watched) -> None:
    targets = watched.prometheus.targets
    assert {target["labels"]["job"] for target in targets()} == {"control-plane", "ray"}
    wait_for(
        "all to answer",
        lambda: all(target["health"] == "up" for target in targets()),
        timeout_s=60,
        every_s=1,
    )


def test_an_alert_fires_while_the_job_is_held_up(watched: Watched) -> None:
    prometheus, job_id = watched.prometheus, watched.job_id
    wait_for("no alert", lambda: not prometheus.firing(HASTENED, job_id), timeout_s=60)
    workers = watched.control_plane.job(job_id)["worker_pids"]
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_for("the alert", lambda: prometheus.firing(HASTENED, job_id), timeout_s=60)
        said = [rule for rule in prometheus.rules() if rule["name"] == HASTENED and rule["alerts"]]
        [alert] = said[0]["alerts"]
        assert alert["annotations"]["summary"] == f"Job {job_id} runs and takes no step"
        assert urllib.parse.urlsplit(alert["annotations"]["dashboard"]).query == f"var-job={job_id}"
        [table] = [query for query in panel_queries() if query.panel == "Alerts that fire"]
        assert job_id in [row["metric"].get("job_id") for row in watched.asked(table)]
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    wait_for("it to end", lambda: not prometheus.firing(HASTENED, job_id), timeout_s=60)
    assert watched.control_plane.job(job_id)["status"] == "RUNNING"
