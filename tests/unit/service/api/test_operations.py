import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from service.access.caller import EVERYONE, Role
from service.control_plane import ControlPlane
from service.store.errors import JobNotFoundError
from service.store.switches import begin_drain
from tests.unit.service.conftest import free_port, now, serving, wait_until
from tests.unit.service.guarded import add_token
from tests.waiting import ANSWERED_WITHIN_S
from trainer.contract.presets import PRESETS


def test_health_asks_nothing_of_ray_or_store(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}


def test_health_needs_no_thread(http: httpx.Client, plane: ControlPlane) -> None:
    release = threading.Event()
    held = threading.Semaphore(0)

    def hang(_query: object) -> None:
        held.release()
        release.wait(10)
        raise JobNotFoundError("any")

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(45) as pool:
        patch.setattr(plane.store, "read_at_once", hang)
        asked = [
            pool.submit(httpx.get, f"{plane.settings.advertised_url}/jobs/any", timeout=20)
            for _ in range(45)
        ]
        for _ in range(40):  # As many threads as there are.
            assert held.acquire(timeout=10)
        assert http.get("/healthz").json() == {"status": "ok"}
        assert not any(one.done() for one in asked)
        release.set()


def test_a_leader_without_ray_is_not_ready_and_says_why(plane: ControlPlane) -> None:
    settings = plane.settings.model_copy(
        update={"port": free_port(), "store_url": f"sqlite:///{plane.settings.state_dir}/own.db"}
    )
    alone = ControlPlane(settings, token=None)
    alone.start()
    with serving(alone) as url, httpx.Client(base_url=url, timeout=ANSWERED_WITHIN_S) as http:
        wait_until(lambda: "does not answer" in http.get("/readyz").json()["ray"])
        answer = http.get("/readyz")
        to_an_admin = http.get("/cluster").json()
        token = add_token(alone, "vic", Role.VIEWER)
        to_a_viewer = http.get("/cluster", headers={"Authorization": f"Bearer {token}"}).json()
    alone.stop()
    assert answer.status_code == 503
    assert answer.json()["role"] == "leader"
    assert not answer.json()["ready"]
    # What answers there runs any code that it is sent.
    assert "127.0.0.1:9" not in answer.text
    assert "ConnectError" not in answer.text
    assert to_an_admin["ray_address"] == "http://127.0.0.1:9"
    assert "ConnectError" in to_an_admin["trouble"]
    assert to_a_viewer["ray_address"] is None
    assert to_a_viewer["trouble"] == f"Ray: {answer.json()['ray']}"


def test_a_new_leader_tells_of_a_drain_at_once_and_one_that_leads_no_more_of_none(
    plane: ControlPlane,
) -> None:
    state_dir = plane.settings.state_dir / "takeover"
    settings = plane.settings.model_copy(
        update={
            "port": free_port(),
            "state_dir": state_dir,
            "store_url": f"sqlite:///{state_dir}/store.db",
        }
    )
    first = ControlPlane(settings, token=None)
    first.try_to_lead()
    first.store.write(lambda connection: begin_drain(connection, EVERYONE, now(), pause=False))
    second = ControlPlane(settings.model_copy(update={"port": free_port()}), token=None)
    with serving(second) as url, httpx.Client(base_url=url, timeout=ANSWERED_WITHIN_S) as http:
        second.try_to_lead()
        told = http.get("/readyz").json()
        assert (told["role"], told["draining"]) == ("standby", False)
        first.stop()

        def leads() -> bool:
            second.try_to_lead()
            return second.is_leader

        wait_until(leads)
        told = http.get("/readyz").json()
        assert (told["role"], told["draining"]) == ("leader", True)
    second.stop()


def test_the_root_leads_to_pages_that_load(http: httpx.Client) -> None:
    answer = http.get("/", follow_redirects=True, timeout=60)
    assert answer.status_code == 200
    assert answer.url.path == "/ui/"
    assert http.get("/docs").status_code == 200


def test_the_description_names_every_route_and_its_examples_are_accepted(
    http: httpx.Client, request_body: dict[str, Any]
) -> None:
    document = http.get("/openapi.json").json()
    assert {
        "/jobs",
        "/jobs/{job_id}",
        "/jobs/{job_id}/events",
        "/jobs/{job_id}/checkpoints",
        "/jobs/{job_id}/report",
        "/jobs/{job_id}/cancel",
        "/jobs/{job_id}/pause",
        "/jobs/{job_id}/resume",
        "/jobs/{job_id}/clone",
        "/jobs/plan",
        "/jobs/{job_id}/attempts/{attempt}/events",
        "/tokens",
        "/tokens/{token_id}",
        "/quotas/{owner}",
        "/usage",
        "/audit",
        "/drain",
        "/undrain",
        "/metrics",
        "/healthz",
        "/readyz",
    } <= document["paths"].keys()
    body = document["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"].keys() == {*PRESETS, "ensemble", "calibration", "clone"}
    for example in body["examples"].values():
        request = example["value"] | {"data": request_body["data"]}
        answer = http.post("/jobs", json=request)
        # The shards of these tests are smaller than the paper's network wants, and no job of them
        # has trained.
        fields = {error["field"].rstrip(".01") for error in answer.json().get("errors", ())}
        refused = fields in ({"model.input_size"}, {"evaluation.checkpoints"}, {"clone"})
        assert answer.status_code == 201 or refused, answer.text


def test_every_reference_of_the_description_resolves(http: httpx.Client) -> None:
    text = http.get("/openapi.json").text
    schemas = http.get("/openapi.json").json()["components"]["schemas"]
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert "JobSpec" in names
    assert names <= schemas.keys()


@pytest.mark.parametrize("status", ["404", "422", "503"])
def test_the_description_shows_problems_as_they_are(http: httpx.Client, status: str) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    answers = [
        operation["responses"][status]["content"]
        for path in paths.values()
        for operation in path.values()
        if status in operation["responses"]
    ]
    assert answers
    kinds = {
        "#/components/schemas/Problem": "application/problem+json",
        "#/components/schemas/Readiness": "application/json",
    }
    for content in answers:
        ((kind, described),) = content.items()
        assert kind == kinds[described["schema"]["$ref"]]
