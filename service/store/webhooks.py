"""Webhooks in the store."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from service.access.audit import Action
from service.access.caller import Caller, Role
from service.store.audit import note_audit
from service.store.tables import deliveries, tokens, webhooks
from service.store.tokens import are_there_tokens
from service.webhooks.happenings import Happening
from service.webhooks.records import MAX_PER_OWNER, Try, Webhook

# Of those who count webhooks; any number that nothing else locks by.
_LOCK = 0x686F6F6B

_tries: TypeAdapter[Try] = TypeAdapter(Try)


class NoSuchWebhookError(LookupError):
    """There is no such webhook, or it is another owner's."""

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"there is no webhook {webhook_id!r}; `alexnet webhooks list` names them")


class TooManyWebhooksError(ValueError):
    """An owner has as many webhooks as one may have."""

    def __init__(self) -> None:
        super().__init__(f"there are {MAX_PER_OWNER} webhooks already; delete one of them")


def create_webhook(connection: Connection, webhook: Webhook, by: Caller, now: datetime) -> None:
    """Keep a webhook. Raises TooManyWebhooksError."""
    if connection.dialect.name == "postgresql":
        # Of one owner one at a time, so that all are counted; on SQLite all writes are.
        key = func.hashtext(webhook.owner or "")
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK, key)))
    count = select(func.count()).select_from(webhooks).where(_of(webhook.owner))
    if connection.execute(count).scalar_one() >= MAX_PER_OWNER:
        raise TooManyWebhooksError
    connection.execute(
        insert(webhooks).values(
            id=webhook.id,
            owner=webhook.owner,
            all_jobs=webhook.all_jobs,
            url=webhook.url,
            events=sorted(webhook.events),
            secret=webhook.secret,
            description=webhook.description,
            created_at=webhook.created_at,
        )
    )
    # Not its URL, which may hold a secret of the receiver's.
    detail = {"all_jobs": webhook.all_jobs, "events": sorted(webhook.events)}
    note_audit(connection, by, Action.CREATE_WEBHOOK, webhook.id, now, **detail)


def find_webhook(connection: Connection, webhook_id: str, seen_by: Caller) -> Webhook:
    """Return a webhook; raise NoSuchWebhookError of others' too."""
    row = connection.execute(select(webhooks).where(webhooks.c.id == webhook_id)).one_or_none()
    found = None if row is None else webhook_of(row)
    if found is None or not found.is_shown_to(seen_by):
        raise NoSuchWebhookError(webhook_id)
    return found


def list_webhooks(connection: Connection, seen_by: Caller) -> Sequence[tuple[Webhook, int]]:
    """Return webhooks, the newest first, each with how much it is still to be told."""
    pending = (
        select(func.count())
        .where(deliveries.c.webhook_id == webhooks.c.id)
        .scalar_subquery()
        .label("pending")
    )
    query = select(webhooks, pending).order_by(webhooks.c.created_at.desc(), webhooks.c.id)
    if not seen_by.is_admin:
        query = query.where(_of(seen_by.owner))
    found = []
    for row in connection.execute(query):
        webhook = webhook_of(row)
        if webhook.is_shown_to(seen_by):
            found.append((webhook, row.pending))
    return found


def delete_webhook(connection: Connection, webhook_id: str, by: Caller, now: datetime) -> None:
    """Delete a webhook, with what it was still to be told. Raises NoSuchWebhookError."""
    # Locked first, so that nothing more is put out for it.
    connection.execute(select(webhooks.c.id).where(webhooks.c.id == webhook_id).with_for_update())
    find_webhook(connection, webhook_id, by)
    connection.execute(delete(deliveries).where(deliveries.c.webhook_id == webhook_id))
    connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
    note_audit(connection, by, Action.DELETE_WEBHOOK, webhook_id, now)


def note_try(connection: Connection, webhook_id: str, tried: Try, *, gave_up: bool = False) -> None:
    """Write down what became of a try."""
    document = asdict(tried) | {"at": tried.at.isoformat()}
    connection.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook_id)
        .values(last_try=document, num_given_up=webhooks.c.num_given_up + int(gave_up))
    )


def note_given_up(connection: Connection, webhook_id: str, num: int) -> None:
    """Count messages that were given up without a further try."""
    connection.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook_id)
        .values(num_given_up=webhooks.c.num_given_up + num)
    )


def why_not_told(connection: Connection, webhook: Webhook, now: datetime) -> str | None:
    """Say why a webhook's owner may no longer be told what it is; None: they may.

    They may as long as they could make it anew. `now`: by the machine's clock, as tokens expire.
    """
    if webhook.owner is None:
        if not are_there_tokens(connection):
            return None
        return "it was made before there were tokens, and is nobody's; make it anew with one"
    roles = [role for role in Role if role.covers(webhook.needs)]
    live = select(tokens.c.id).where(
        tokens.c.owner == webhook.owner,
        tokens.c.role.in_(roles),
        tokens.c.revoked_at.is_(None),
        or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now),
    )
    if connection.execute(live.limit(1)).first() is not None:
        return None
    return f"its owner {webhook.owner} has no valid token of the role {webhook.needs}"


def webhook_of(row: Row[Any]) -> Webhook:
    """Make a webhook of a row of `webhooks`."""
    last_try = row.last_try
    return Webhook(
        id=row.id,
        owner=row.owner,
        all_jobs=row.all_jobs,
        url=row.url,
        events=frozenset(map(Happening, row.events)),
        secret=row.secret,
        description=row.description,
        created_at=row.created_at,
        last_try=None if last_try is None else _tries.validate_python(last_try),
        num_given_up=row.num_given_up,
    )


def _of(owner: str | None) -> Any:
    return webhooks.c.owner.is_(None) if owner is None else webhooks.c.owner == owner
