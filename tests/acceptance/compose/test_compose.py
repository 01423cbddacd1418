"""`docker compose up`, then one `curl`: the demo's job trains in the worker's container.

deploy/README.md gives the same commands.
"""

import contextlib
import json
import re
import signal
import socket
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from tests.acceptance.compose.processes import execute
from tests.acceptance.compose.stack import Stack
from tests.dashboards.checked_in import PanelQuery, panel_queries
from tests.dashboards.empty import may_be_empty
from tests.waiting import wait_for

# By signal, so that containers, engine and images are removed when the time is up.
pytestmark = [pytest.mark.compose, pytest.mark.timeout(2400, method="signal")]

NUM_CLASSES = 10


@dataclass(frozen=True)
class Observed:
    """What was seen of a job while it ran, and how it ended."""

    job: dict[str, Any]
    loss: float
    empty_panels: list[str]
    processes_of_worker: str


@pytest.fixture(scope="module")
def observed(stack: Stack) -> Observed:
    stack.compose("run", "--rm", "demo-data", timeout_s=300)
    answer = execute(
        *("curl", "--silent", "--show-error", "--fail-with-body", "--max-time", 30),
        *("--request", "POST", f"{stack.url('control-plane')}/jobs"),
        *("--header", "Content-Type: application/json"),
        *("--data", "@deploy/demo-job.json"),
        timeout_s=40,
    )
    job_id = json.loads(answer)["id"]

    def status(*wanted: str) -> dict[str, Any] | None:
        job = stack.job(job_id)
        ended = job["status"] in ("SUCCEEDED", "FAILED", "CANCELLED")
        assert job["status"] in wanted or not ended, f"{job}\n{stack.logs()}"
        return job if job["status"] in wanted else None

    wait_for("the job to run", lambda: status("RUNNING"), timeout_s=180)
    wait_for(
        "Prometheus to know its validation error",
        lambda: status("RUNNING") and stack.query("alexnet_eval_error_ratio"),
        timeout_s=180,
    )
    [loss] = stack.query(f'alexnet_train_loss{{job_id="{job_id}"}}')
    empty_panels = _empty_panels(stack, job_id)
    processes = stack.docker("top", stack.containers()["ray-worker"]["Id"])
    # Under three minutes where nothing else runs; asked seldom, since asking takes CPU from it.
    job = wait_for("the job to succeed", lambda: status("SUCCEEDED"), timeout_s=1200, every_s=2)
    return Observed(job, float(loss["value"][1]), empty_panels, processes)


def _empty_panels(stack: Stack, job_id: str) -> list[str]:
    """Return what shows nothing of the job for a minute, of what the control plane tells of it.

    `make test-dashboards` asks all panels, and so what takes minutes to show something too.
    """
    left = [query for query in panel_queries() if _is_told_of_a_job(query)]

    def all_show_something() -> bool:
        left[:] = [query for query in left if not stack.query(query.substituted(job_id))]
        return not left

    with contextlib.suppress(AssertionError):
        wait_for("every panel to show something", all_show_something, timeout_s=60, every_s=2)
    return list(map(str, left))


def _is_told_of_a_job(query: PanelQuery) -> bool:
    is_of_job = any(f"max by ({by}) (alexnet_" in query.expr for by in ("job_id", "job_id, phase"))
    return is_of_job and not may_be_empty(query)


def test_a_job_submitted_with_curl_trains_in_the_worker(observed: Observed) -> None:
    assert observed.job["status"] == "SUCCEEDED"
    assert "ray::" in observed.processes_of_worker
    assert 0 < observed.loss < 2.3  # after an epoch; ln 10 = 2.30 is chance
    assert observed.job["report"]["top1"] >= 0.8


def test_every_panel_of_the_dashboards_shows_something(observed: Observed) -> None:
    assert observed.empty_panels == []


def test_series_of_the_job_end_with_it(stack: Stack, observed: Observed) -> None:
    expression = f'alexnet_train_loss{{job_id="{observed.job["id"]}"}}'
    wait_for("its series to end", lambda: not stack.query(expression), timeout_s=30)


def test_every_container_says_that_it_is_healthy(stack: Stack) -> None:
    def health() -> bool:
        states = [container["State"] for container in stack.containers().values()]
        return all(state["Health"]["Status"] == "healthy" for state in states)

    wait_for("every container to be healthy", health, timeout_s=90, every_s=1)


def test_prometheus_scrapes_every_node_of_ray(stack: Stack) -> None:
    targets = {sample["metric"]["instance"]: sample["value"][1] for sample in stack.query("up")}
    addresses = {
        service: next(iter(container["NetworkSettings"]["Networks"].values()))["IPAddress"]
        for service, container in stack.containers().items()
    }
    assert targets == {
        "control-plane:8000": "1",
        f"{addresses['ray-head']}:8080": "1",
        f"{addresses['ray-worker']}:8080": "1",
    }


def test_only_loopback_reaches_the_published_ports(stack: Stack) -> None:
    bindings = {
        service: {
            port: [(binding["HostIp"], int(binding["HostPort"])) for binding in published]
            for port, published in container["NetworkSettings"]["Ports"].items()
            if published
        }
        for service, container in stack.containers().items()
    }
    assert bindings == {
        "control-plane": {"8000/tcp": [("127.0.0.1", stack.ports["control-plane"])]},
        "prometheus": {"9090/tcp": [("127.0.0.1", stack.ports["prometheus"])]},
        "ray-head": {},
        "ray-worker": {},
    }
    outside = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]
    for host in outside:
        for port in (stack.ports["control-plane"], stack.ports["prometheus"]):
            with pytest.raises(ConnectionRefusedError), socket.create_connection((host, port), 5):
                pass


def test_ray_refuses_whoever_has_no_token(stack: Stack) -> None:
    asked = (
        "import sys, urllib.error, urllib.request\n"
        "try: urllib.request.urlopen('http://ray-head:8265/api/jobs/', timeout=5)\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )
    assert stack.compose(
        "exec", "-T", "control-plane", "python", "-c", asked, timeout_s=30
    ).split() == ["401"]


def test_containers_run_as_an_ordinary_user(stack: Stack) -> None:
    users = {
        service: container["Config"]["User"] for service, container in stack.containers().items()
    }
    assert users == {
        "control-plane": "alexnet",
        "ray-head": "alexnet",
        "ray-worker": "alexnet",
        "prometheus": "nobody",
    }


def test_the_page_of_data_shows_a_sheet_and_a_batch_of_the_job(
    stack: Stack, observed: Observed
) -> None:
    location = observed.job["spec"]["data"]["train"]
    # By the page's own form; of its two processes each has a minute.
    looked = stack.api.post("/ui/data/look", data={"location": location}, timeout=150)
    assert looked.status_code == 303, looked.text
    html = stack.api.get(looked.headers["Location"]).raise_for_status().text
    assert "no packages that read images" not in html
    assert 'id="balance-figure"' in html
    for kind in ("sheets", "batches"):
        paths = re.findall(rf"/ui/data/{kind}/[0-9a-f]{{64}}\.png", html)
        assert paths, f"{kind}\n{html}"
        picture = stack.api.get(paths[0]).raise_for_status()
        assert picture.content.startswith(b"\x89PNG")
    assert f'href="/ui/jobs/{observed.job["id"]}"' in html
    # As the demo trains: the preset mirrors nothing.
    assert "batch of 64" in html
    assert "none mirrored" in html


def test_the_contact_sheet_of_the_training_set_is_among_the_artifacts(
    stack: Stack, observed: Observed
) -> None:
    artifacts = f"/jobs/{observed.job['id']}/artifacts"
    listed = stack.api.get(artifacts).raise_for_status().json()["artifacts"]
    [path] = [one["path"] for one in listed if one["path"].endswith("/training-set.png")]
    picture = stack.api.get(f"{artifacts}/{path}").raise_for_status()
    assert picture.content.startswith(b"\x89PNG")


def test_containers_stop_before_they_are_killed(stack: Stack) -> None:
    stack.compose("stop", timeout_s=120)
    exits = {
        service: container["State"]["ExitCode"] for service, container in stack.containers().items()
    }
    assert exits["control-plane"] == 0
    assert 128 + signal.SIGKILL not in exits.values()


def test_down_and_up_again_still_lists_the_job(stack: Stack, observed: Observed) -> None:
    stack.down()
    assert (
        stack.docker(
            "ps",
            "--all",
            "--quiet",
            "--filter",
            f"label=com.docker.compose.project={stack.project}",
        )
        == ""
    )
    stack.up()
    jobs = stack.api.get("/jobs").raise_for_status().json()["jobs"]
    assert [(job["id"], job["status"]) for job in jobs] == [(observed.job["id"], "SUCCEEDED")]
    assert stack.job(observed.job["id"])["report"] == observed.job["report"]
