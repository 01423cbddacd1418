"""Every page, over real HTTP: who may see it, and what is sent with it."""

import httpx
import pytest
from fastapi.routing import APIRoute

from service.application import create_application
from service.control_plane import ControlPlane
from service.ui.rendering import HEADERS
from tests.unit.service.conftest import job_in
from tests.unit.service.guarded import Guarded
from tests.unit.service.routes import routes_below, rules_of
from trainer.contract.status import Status


def pages(plane: ControlPlane) -> list[APIRoute]:
    found = routes_below(create_application(plane))
    return [route for route in found if route.path.startswith("/ui")]


def test_every_page_has_a_rule_who_may_see_it_and_few_are_for_everyone(
    plane: ControlPlane,
) -> None:
    assert len(pages(plane)) > 5
    for route in pages(plane):
        assert rules_of(route.dependant), f"{route.methods} {route.path} has no access rule"
    exempt = {
        route.path
        for route in pages(plane)
        if any(type(rule).__name__ == "NoRule" for rule in rules_of(route.dependant))
    }
    assert exempt == {"/ui/assets/{digest}/{name}", "/ui/sign-in", "/ui/sign-out"}


def test_no_page_is_described_as_part_of_the_api(plane: ControlPlane) -> None:
    described = create_application(plane).openapi()["paths"]
    assert not [path for path in described if path.startswith("/ui")]


def test_the_root_leads_to_the_page(http: httpx.Client) -> None:
    for path in ("/", "/ui"):
        answer = http.get(path, follow_redirects=True)
        assert answer.status_code == 200
        assert answer.url.path == "/ui/"


@pytest.mark.parametrize("path", ["/ui/", "/ui/submit", "/ui/nothing", "/ui/?label=wrong"])
def test_every_page_is_sent_with_what_keeps_it_inert(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


def test_what_is_no_page_is_said_on_one(http: httpx.Client) -> None:
    answer = http.get("/ui/nothing/at/all")
    assert answer.status_code == 404
    assert "text/html" in answer.headers["Content-Type"]
    assert "there is no such page" in answer.text


def test_whoever_is_not_known_is_asked_to_sign_in_and_led_back(guarded: Guarded) -> None:
    answer = guarded.nobody.get("/ui/?status=RUNNING")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/ui/sign-in?next=%2Fui%2F%3Fstatus%3DRUNNING"
    for path in ("/ui/jobs/a/cancel", "/ui/submit", "/ui/submit/plan"):
        refused = guarded.nobody.post(path, content=b"x" * 100_000)
        assert refused.headers["Location"] == "/ui/sign-in?again=true&next=%2Fui%2F"


@pytest.mark.parametrize("path", ["jobs", "cluster", "jobs/a"])
def test_a_stream_tells_whoever_is_not_known_so_and_leads_nowhere(
    guarded: Guarded, path: str
) -> None:
    answer = guarded.nobody.get(f"/ui/live/{path}")
    assert answer.status_code == 401
    assert answer.json()["type"].endswith("no-token")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_viewers_change_nothing(guarded: Guarded) -> None:
    job_in(guarded.plane.store, Status.QUEUED, "foreign")
    for path in ("/ui/jobs/foreign/cancel", "/ui/submit", "/ui/submit/plan"):
        answer = guarded.vic.post(path)
        assert answer.status_code == 403
        assert "text/html" in answer.headers["Content-Type"]
    assert guarded.vic.get("/ui/submit").status_code == 403
    assert guarded.plane.store.job("foreign").desired == "run"
