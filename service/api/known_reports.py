"""Reports by a token that was taken before: taken at once, past the framework."""

import asyncio
from collections import deque
from typing import NamedTuple

from fastapi import Response
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.attempts import REPORTS_PATH, reply_to
from service.control_plane import ControlPlane
from service.steady_clock import now_utc
from service.store.errors import JobNotFoundError
from service.store.reports import Report, Taken
from trainer.contract.events import EventBatch


class Reporting(NamedTuple):
    """Which attempt reports. The middleware of `api.access` puts it there, if it is known."""

    job_id: str
    attempt: int


class KnownReports(BaseRoute):
    """A route to be asked before all others. Whatever may be refused goes to those, which say why.

    To find a route by FastAPI, with its threads and checks, costs several times what it costs to
    store a report.
    """

    path = REPORTS_PATH
    """Under which it is counted."""

    def __init__(self, plane: ControlPlane, others: ASGIApp) -> None:
        self._plane = plane
        self._others = others

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say whether a request is one: what is known of who sends it decides, not its path."""
        is_one = (
            scope.get("state", {}).get("reporting") is not None
            and scope["method"] == "POST"
            and Headers(scope=scope).get("content-type") == "application/json"
            and self._plane.is_leader
        )
        return (Match.FULL, {"route": self}) if is_one else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Store a report and answer, or have the others do so."""
        # They are asked as if this one were not there.
        reporting = scope["state"].pop("reporting")
        assert isinstance(reporting, Reporting)
        messages = await _body(receive)
        found = await self._take(reporting, messages)
        if found is not None:
            reply = reply_to(self._plane, *found)
            response = Response(reply.model_dump_json(), media_type="application/json")
            await response(scope, receive, send)
            return

        async def receive_again() -> Message:
            return messages.popleft() if messages else await receive()

        await self._others(scope, receive_again, send)

    async def _take(
        self, reporting: Reporting, messages: deque[Message]
    ) -> tuple[EventBatch, Taken] | None:
        """Return what was told and what came of it; None: it is not in order."""
        if messages[-1]["type"] != "http.request":
            return None
        body = b"".join(message.get("body", b"") for message in messages)
        try:
            batch = EventBatch.model_validate_json(body)
        except ValidationError:
            return None
        report = Report(
            job_id=reporting.job_id,
            attempt=reporting.attempt,
            events=batch.events,
            at=now_utc(),
            size_bytes=len(body),
        )
        try:
            return batch, await asyncio.wrap_future(self._plane.store.take_report(report))
        except JobNotFoundError:
            # Deleted since: its token is none any longer.
            return None


async def _body(receive: Receive) -> deque[Message]:
    """Return what a body comes in; the last is no part of it where the sender has gone."""
    messages = deque([await receive()])
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages
