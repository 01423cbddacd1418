"""/webhooks: addresses that are told what happens to jobs."""

import asyncio
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Request, Response

from service.access.audit import Action
from service.access.caller import Role, check_role
from service.api.dependencies import INVALID, Leader, Plane, Submitter
from service.api.errors import RETRY, RefusedRequestError, answer
from service.delivering.resolving import ResolverBusyError
from service.delivering.sender import Letter, checked_addresses, send
from service.problems import FieldError, Problem, ProblemType
from service.steady_clock import now_utc, wall_utc
from service.store.audit import note_audit
from service.store.webhooks import (
    NoSuchWebhookError,
    TooManyWebhooksError,
    create_webhook,
    delete_webhook,
    find_webhook,
    list_webhooks,
    why_not_told,
)
from service.views.webhooks import (
    CreatedWebhook,
    WebhookList,
    WebhookRequest,
    WebhookTry,
    try_view,
    webhook_view,
)
from service.webhooks.address import AddressRefusedError
from service.webhooks.records import Try, Webhook, message
from service.webhooks.signing import new_message_id, new_secret

router = APIRouter(prefix="/webhooks", tags=["webhooks"], responses=INVALID)

_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such webhook."}
}
_TEST = "webhook.test"
# Each holds a thread: a look-up while the system looks, a test for as long as the receiver takes.
_waits = threading.BoundedSemaphore(4)

WebhookId = Annotated[str, Path(max_length=64, description="As `POST /webhooks` gave it.")]


def add_webhook_handlers(app: FastAPI) -> None:
    """Answer what webhooks are refused for with problem documents."""

    @app.exception_handler(AddressRefusedError)
    def refused_address(_request: Request, error: AddressRefusedError) -> Response:
        errors = (FieldError(field="url", message=str(error)),)
        detail = "nothing is sent to this URL; no webhook was made"
        return answer(422, detail, errors=errors, kind=ProblemType.WEBHOOK_REFUSED)

    @app.exception_handler(TooManyWebhooksError)
    def too_many(_request: Request, error: TooManyWebhooksError) -> Response:
        return answer(422, str(error), kind=ProblemType.WEBHOOK_REFUSED)

    @app.exception_handler(NoSuchWebhookError)
    def unknown(_request: Request, error: NoSuchWebhookError) -> Response:
        return answer(404, str(error))


@router.get("")
def get_webhooks(plane: Plane, caller: Submitter) -> WebhookList:
    """List webhooks, the newest first: admins see all, others their own."""
    found = plane.store.read(lambda connection: list_webhooks(connection, caller))
    return WebhookList(webhooks=tuple(webhook_view(*one) for one in found))


@router.post("", status_code=201)
def post_webhook(
    plane: Leader, caller: Submitter, request: WebhookRequest, response: Response
) -> CreatedWebhook:
    """Have an address told what happens to jobs. The secret is told in this answer and never again.

    Messages are signed as standardwebhooks.com has it; docs/operating.md says how to verify that.
    """
    if request.all_jobs:
        check_role(caller, Role.ADMIN)
    with _a_place_to_wait():
        allowed = plane.settings.webhook_allowed
        asyncio.run(checked_addresses(request.url, allowed, caller.owner))
    now = now_utc()
    webhook = Webhook(
        id=secrets.token_hex(6),
        owner=caller.owner,
        all_jobs=request.all_jobs or caller.owner is None,
        url=request.url,
        events=frozenset(request.events),
        secret=new_secret(),
        description=request.description,
        created_at=now,
    )
    plane.store.write(lambda connection: create_webhook(connection, webhook, caller, now))
    response.headers["Cache-Control"] = "no-store"
    return CreatedWebhook(secret=webhook.secret, **webhook_view(webhook, 0).model_dump())


@router.post("/{webhook_id}/test", responses=_UNKNOWN)
def test_webhook(plane: Leader, caller: Submitter, webhook_id: WebhookId) -> WebhookTry:
    """Send a message of the type `webhook.test` now, once, and say what came of it.

    Where its owner may no longer be told anything, nothing is sent.
    """
    webhook, why_not = plane.store.read(
        lambda connection: (
            found := find_webhook(connection, webhook_id, caller),
            why_not_told(connection, found, wall_utc()),
        )
    )
    now = now_utc()
    if why_not is None:
        with _a_place_to_wait():
            tried = asyncio.run(send(_letter(webhook, now), plane.settings.webhook_allowed, now))
    else:
        tried = Try(
            at=now, message_id=new_message_id(), event=_TEST, delivered=False, detail=why_not
        )
    plane.store.write(
        lambda connection: note_audit(connection, caller, Action.TEST_WEBHOOK, webhook.id, now)
    )
    return try_view(tried)


def _letter(webhook: Webhook, now: datetime) -> Letter:
    body = message(_TEST, now, {"webhook_id": webhook.id, "description": webhook.description})
    return Letter(
        webhook=webhook,
        message_id=new_message_id(),
        event=_TEST,
        body=json.dumps(body).encode(),
    )


@router.delete("/{webhook_id}", status_code=204, responses=_UNKNOWN)
def remove_webhook(plane: Leader, caller: Submitter, webhook_id: WebhookId) -> None:
    """Delete a webhook, with what it was still to be told: only what is on its way may yet come."""
    now = now_utc()
    plane.store.write(lambda connection: delete_webhook(connection, webhook_id, caller, now))


@contextmanager
def _a_place_to_wait() -> Iterator[None]:
    """Refuse, as what may succeed later, where as many wait for others' networks as may."""
    if not _waits.acquire(blocking=False):
        raise _busy()
    try:
        yield
    except ResolverBusyError as error:
        raise _busy() from error
    finally:
        _waits.release()


def _busy() -> RefusedRequestError:
    detail = "the addresses of several webhooks are being looked up or tested; try again"
    return RefusedRequestError(ProblemType.UNAVAILABLE, detail, headers=RETRY)
