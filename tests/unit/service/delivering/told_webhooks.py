"""Webhooks that are kept and told in tests, and what came of it."""

import ipaddress
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from service.access.caller import EVERYONE
from service.delivering.deliverer import Deliverer
from service.metrics import registry
from service.store.store import Store
from service.store.webhooks import create_webhook, find_webhook
from service.webhooks.happenings import Happening
from service.webhooks.records import Webhook
from service.webhooks.signing import new_secret
from tests.unit.service.conftest import now
from tests.unit.service.stub_server import Request

NAMES = ["job.queued", "job.starting", "job.running", "job.succeeded"]
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def keep(store: Store, url: str, webhook_id: str = "hook", **changes: Any) -> Webhook:
    values: dict[str, Any] = {
        "id": webhook_id,
        "owner": None,
        "all_jobs": True,
        "url": url,
        "events": frozenset(Happening),
        "secret": new_secret(),
        "description": "",
        "created_at": now(),
    }
    webhook = Webhook(**values | changes)
    store.write(lambda connection: create_webhook(connection, webhook, EVERYONE, now()))
    return webhook


def look(store: Store, webhook_id: str = "hook") -> Webhook:
    return store.read(lambda connection: find_webhook(connection, webhook_id, EVERYONE))


def counted(outcome: str) -> float:
    name = "alexnet_webhook_deliveries_total"
    value = registry.get_sample_value(name, {"outcome": outcome})
    # All are there from the beginning.
    assert value is not None
    return value


@contextmanager
def delivering(
    store: Store,
    *,
    is_leader: Callable[[], bool] = lambda: True,
    allowed: Any = LOOPBACK,
    give_up_every_s: float = 60.0,
) -> Iterator[Deliverer]:
    deliverer = Deliverer(
        store,
        is_leader=is_leader,
        allowed=allowed,
        poll_s=0.02,
        give_up_every_s=give_up_every_s,
    )
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop()


def types(requests: list[Request], job_id: str = "a") -> list[str]:
    bodies = [json.loads(request.body) for request in requests]
    return [body["type"] for body in bodies if body["data"]["job_id"] == job_id]


def once(requests: list[Request]) -> list[Request]:
    """Leave out what came again, as where a machine was slow to answer."""
    by_id: dict[str, Request] = {}
    for request in requests:
        by_id.setdefault(request.headers["webhook-id"], request)
    return list(by_id.values())
