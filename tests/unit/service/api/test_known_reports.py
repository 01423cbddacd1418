"""Reports by a token that was taken before: as if they had gone the way of all requests."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from service.api.attempts import REPORTS_PATH, router
from service.api.bodies import MAX_VALUES
from service.api.known_reports import KnownReports, Reporting
from service.control_plane import ControlPlane
from service.metrics import registry
from service.problems import ProblemType
from tests.unit.service.api.test_attempts import BEARER, batch, begin

AS_JSON = BEARER | {"Content-Type": "application/json"}
CHARSET = BEARER | {"Content-Type": "application/json; charset=utf-8"}


def test_the_path_is_the_one_that_is_described() -> None:
    assert [route.path for route in router.routes if hasattr(route, "path")] == [REPORTS_PATH]


def test_they_are_counted_with_all_reports(http: httpx.Client, plane: ControlPlane) -> None:
    def counted() -> float:
        labels = {"method": "POST", "handler": REPORTS_PATH, "status": "200"}
        return registry.get_sample_value("http_requests_total", labels) or 0.0

    path = begin(plane, "counted")
    before = counted()
    for number in range(1, 4):
        http.post(path, json=batch(number), headers=AS_JSON).raise_for_status()
    assert counted() - before == 3


def test_a_body_may_come_in_chunks(http: httpx.Client, plane: ControlPlane) -> None:
    def chunks(number: int) -> Iterator[bytes]:
        body = httpx.Request("POST", "http://x", json=batch(number)).content
        yield body[:20]
        yield body[20:]

    path = begin(plane, "chunks")
    # The first is not known yet, the last not as JSON alone.
    for number, headers in enumerate((AS_JSON, AS_JSON, CHARSET), 1):
        answer = http.post(path, content=chunks(number), headers=headers)
        assert answer.json()["stored_through"] == number


def test_what_is_too_much_or_no_report_is_refused_as_it_is_anywhere(
    http: httpx.Client, plane: ControlPlane
) -> None:
    path = begin(plane, "refused")
    http.post(path, json=batch(1), headers=AS_JSON).raise_for_status()
    assert http.get(path, headers=AS_JSON).status_code == 405
    # That was the fault of whoever sends it, so that it has to be known again.
    http.post(path, json=batch(2), headers=AS_JSON).raise_for_status()
    body = b"[" + b"," * MAX_VALUES + b"]"
    answer = http.post(path, content=body, headers=AS_JSON)
    assert (answer.status_code, answer.json()["type"]) == (413, ProblemType.TOO_LARGE)
    assert plane.store.attempt("refused", 1).events_through == 2


@dataclass
class _Others:
    """Stands for all other routes: reads what it is sent."""

    scopes: list[Scope] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, _send: Send) -> None:
        self.scopes.append(scope)
        while True:
            self.messages.append(await receive())
            if not self.messages[-1].get("more_body", False):
                return


BEGUN = {"type": "http.request", "body": b'{"events": []}', "more_body": True}
GONE = {"type": "http.disconnect"}
WRONG = [BEGUN, {"type": "http.request", "body": b"}", "more_body": False}]


# What has come may look whole.
@pytest.mark.parametrize("sent", [[BEGUN, GONE], WRONG], ids=["gone", "wrong"])
def test_what_is_not_in_order_is_read_again_by_others(
    plane: ControlPlane, sent: list[dict[str, Any]]
) -> None:
    others = _Others()
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "headers": [(b"content-type", b"application/json")],
        "state": {"reporting": Reporting("not read", 1)},
    }
    coming = iter(sent)

    async def receive() -> Message:
        return next(coming)

    async def send(message: Message) -> None:
        raise AssertionError(message)

    route = KnownReports(plane, others)
    assert route.matches(scope)[0] is Match.FULL
    asyncio.run(route.handle(scope, receive, send))
    assert others.messages == sent
    # Nor does it come back.
    assert route.matches(others.scopes[0])[0] is Match.NONE
