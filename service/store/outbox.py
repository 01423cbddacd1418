"""What webhooks are to be told: put out with the events, taken when it was delivered."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from service.steady_clock import now_utc
from service.store.tables import deliveries, jobs, webhooks
from service.store.webhooks import note_given_up, note_try, webhook_of
from service.webhooks.happenings import happening_of
from service.webhooks.records import Delivery, Try, message
from service.webhooks.signing import new_message_id


def put_out(connection: Connection, job_id: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Have webhooks told of new rows of `events`, in the transaction that stores them."""
    query = (
        select(webhooks.c.id, webhooks.c.events, jobs.c.spec, jobs.c.owner)
        .join(jobs, or_(webhooks.c.all_jobs, webhooks.c.owner == jobs.c.owner))
        .where(jobs.c.id == job_id)
        # None is deleted before this is stored.
        .with_for_update(read=True, key_share=True, of=webhooks)
    )
    listening = connection.execute(query).all()
    if not listening:
        return
    # By our own clock: an event is as old as the clock of its attempt says.
    now = now_utc()
    rows = [
        {
            "message_id": new_message_id(),
            "webhook_id": one.id,
            "job_id": job_id,
            "event": happening,
            "body": json.dumps(message(happening, event["at"], _data(one.spec, one.owner, event))),
            "created_at": now,
            "due_at": now,
        }
        for event in events
        if (happening := happening_of(event["data"])) is not None
        for one in listening
        if happening in one.events
    ]
    if rows:
        connection.execute(insert(deliveries), rows)


def _data(spec: Mapping[str, Any], owner: str | None, event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "job_id": event["job_id"],
        "name": spec["name"],
        "owner": owner,
        "labels": spec.get("labels", {}),
        "number": event["number"],
        "attempt": event["attempt"],
        "event": event["data"],
    }


def due_deliveries(
    connection: Connection, now: datetime, *, at_most: int, of_each: int, of_owner: int
) -> list[Delivery]:
    """Return what is to be sent now, the longest due first.

    Of each webhook and job the oldest alone: what follows waits for it. `of_each`, `of_owner`: at
    most so many of a webhook and of an owner, so that one that hangs keeps no other waiting.
    """
    oldest = (
        select(func.min(deliveries.c.seq))
        .group_by(deliveries.c.webhook_id, deliveries.c.job_id)
        .scalar_subquery()
    )
    order = (deliveries.c.due_at, deliveries.c.seq)
    place = func.row_number().over(partition_by=deliveries.c.webhook_id, order_by=order)
    due = (
        select(deliveries.c.seq, place.label("place"))
        .where(deliveries.c.seq.in_(oldest), deliveries.c.due_at <= now)
        .subquery()
    )
    place_of_owner = func.row_number().over(partition_by=webhooks.c.owner, order_by=order)
    chosen = (
        select(deliveries.c.seq, place_of_owner.label("place"))
        .join(webhooks, webhooks.c.id == deliveries.c.webhook_id)
        .join(due, due.c.seq == deliveries.c.seq)
        .where(due.c.place <= of_each)
        .subquery()
    )
    query = (
        select(
            webhooks,
            *(deliveries.c[name] for name in ("seq", "message_id", "job_id", "event", "body")),
            deliveries.c.created_at.label("put_out_at"),
            deliveries.c.num_tries,
        )
        .join(webhooks, webhooks.c.id == deliveries.c.webhook_id)
        .join(chosen, chosen.c.seq == deliveries.c.seq)
        .where(chosen.c.place <= of_owner)
        .order_by(*order)
        .limit(at_most)
    )
    return [
        Delivery(
            seq=row.seq,
            message_id=row.message_id,
            webhook=webhook_of(row),
            job_id=row.job_id,
            event=row.event,
            body=row.body,
            created_at=row.put_out_at,
            num_tries=row.num_tries,
        )
        for row in connection.execute(query)
    ]


def take(connection: Connection, delivery: Delivery, tried: Try) -> bool:
    """Take out what was delivered, or is given up; False where it is gone, or was tried since."""
    _lock_webhook(connection, delivery.webhook.id)
    is_there = connection.execute(delete(deliveries).where(_is_as_read(delivery))).rowcount == 1
    if is_there:
        note_try(connection, delivery.webhook.id, tried, gave_up=not tried.delivered)
    return is_there


def put_off(connection: Connection, delivery: Delivery, tried: Try, due_at: datetime) -> bool:
    """Have what could not be delivered tried again; False where it is gone, or was tried since."""
    _lock_webhook(connection, delivery.webhook.id)
    later = update(deliveries).where(_is_as_read(delivery))
    values = {"due_at": due_at, "num_tries": delivery.num_tries + 1}
    is_there = connection.execute(later.values(values)).rowcount == 1
    if is_there:
        note_try(connection, delivery.webhook.id, tried)
    return is_there


def give_up_old(connection: Connection, before: datetime, *, at_most: int) -> tuple[str, int]:
    """Take out the oldest of what was put out before then, tried or not: of one webhook alone.

    Returns the webhook and how many, at most `at_most`; none: there are no more of any.
    """
    is_old = deliveries.c.created_at < before
    oldest = select(deliveries.c.webhook_id).where(is_old).order_by(deliveries.c.created_at)
    webhook_id = connection.execute(oldest.limit(1)).scalar_one_or_none()
    if webhook_id is None:
        return "", 0
    _lock_webhook(connection, webhook_id)
    pick = select(deliveries.c.seq).where(is_old, deliveries.c.webhook_id == webhook_id)
    found = pick.order_by(deliveries.c.created_at).limit(at_most).scalar_subquery()
    num = connection.execute(delete(deliveries).where(deliveries.c.seq.in_(found))).rowcount
    note_given_up(connection, webhook_id, num)
    return webhook_id, num


def _lock_webhook(connection: Connection, webhook_id: str) -> None:
    # First of all, as where it is deleted: neither then waits for the other.
    query = select(webhooks.c.id).where(webhooks.c.id == webhook_id)
    connection.execute(query.with_for_update(key_share=True))


def _is_as_read(delivery: Delivery) -> ColumnElement[bool]:
    """Not where another leader has tried it since: what it wrote down is newer."""
    return and_(deliveries.c.seq == delivery.seq, deliveries.c.num_tries == delivery.num_tries)
