"""Webhooks in the store, and what they are still to be told."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, text

from service.access.caller import EVERYONE, Caller, Role
from service.access.tokens import issue_token
from service.steady_clock import now_utc
from service.store.audit import read_audit
from service.store.deletion import delete_job
from service.store.outbox import due_deliveries, give_up_old, put_off, take
from service.store.store import Store
from service.store.tokens import create_token, revoke_token
from service.store.webhooks import (
    NoSuchWebhookError,
    TooManyWebhooksError,
    create_webhook,
    delete_webhook,
    find_webhook,
    list_webhooks,
    note_try,
    why_not_told,
)
from service.webhooks.happenings import ENDED, Happening
from service.webhooks.records import MAX_PER_OWNER, Delivery, Try, Webhook
from service.webhooks.signing import new_secret
from tests.unit.service.conftest import job_in, make_spec, now, progress, report, wait_until
from tests.unit.service.store.statements import scanned, statements
from trainer.contract.events import Evaluated
from trainer.contract.status import Status

ANN = Caller(owner="ann", role=Role.SUBMITTER)
BOB = Caller(owner="bob", role=Role.SUBMITTER)
ROOT = Caller(owner="root", role=Role.ADMIN)
LATER = timedelta(minutes=1)


def keep(store: Store, webhook_id: str, by: Caller = EVERYONE, **changes: Any) -> Webhook:
    webhook = Webhook(
        id=webhook_id,
        owner=by.owner,
        all_jobs=by.owner is None,
        url="https://hooks.example.org/a",
        events=frozenset(ENDED),
        secret=new_secret(),
        description="",
        created_at=now(),
    )
    webhook = replace(webhook, **changes)
    store.write(lambda connection: create_webhook(connection, webhook, by, now()))
    return webhook


def due(
    store: Store,
    at: datetime | None = None,
    *,
    at_most: int = 100,
    of_each: int = 100,
    of_owner: int = 100,
) -> list[Delivery]:
    return store.read(
        lambda connection: due_deliveries(
            connection, at or now(), at_most=at_most, of_each=of_each, of_owner=of_owner
        )
    )


def tried(delivery: Delivery, *, delivered: bool = True) -> Try:
    return Try(
        at=now(),
        message_id=delivery.message_id,
        event=delivery.event,
        delivered=delivered,
        detail="answered 204" if delivered else "answered 500",
    )


def take_all(store: Store) -> list[Delivery]:
    taken: list[Delivery] = []
    while found := due(store, at_most=1):
        taken += found
        store.write(partial(take, delivery=found[0], tried=tried(found[0])))
    return taken


def test_what_was_chosen_is_put_out_with_the_event_and_nothing_else(store: Store) -> None:
    events = frozenset({Happening.STARTING, Happening.EVALUATED, Happening.SUCCEEDED})
    keep(store, "chosen", events=events)
    job_in(store, Status.RUNNING, "a", spec=make_spec(labels={"team": "blue"}))
    report(
        store,
        "a",
        progress(3),
        Evaluated(step=3, epoch=1.0, num_samples=10, loss=1.0, top1=0.5, top5=0.9),
    )
    taken = take_all(store)
    assert [one.event for one in taken] == ["job.starting", "job.evaluated"]
    body = json.loads(taken[1].body)
    assert body["type"] == "job.evaluated"
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    data = body["data"]
    assert (data["job_id"], data["name"], data["owner"]) == ("a", "a job", None)
    assert (data["labels"], data["attempt"], data["number"]) == ({"team": "blue"}, 1, 4)
    assert data["event"]["top1"] == 0.5
    assert len({one.message_id for one in taken}) == 2


def test_a_change_that_is_undone_puts_out_nothing(store: Store) -> None:
    keep(store, "chosen", events=frozenset(Happening))

    class UndoneError(Exception):
        pass

    def change(connection: Any) -> None:
        from service.jobs.events import Resized  # noqa: PLC0415
        from service.store.changes import append_event  # noqa: PLC0415

        append_event(connection, "a", now(), Resized(before=1, after=2))
        raise UndoneError

    store.submit("a", make_spec(), now())
    take_all(store)
    with pytest.raises(UndoneError):
        store.write(change)
    assert due(store) == []


def test_owners_are_told_of_their_own_jobs_and_who_asked_for_all_of_every_one(
    store: Store,
) -> None:
    queued = frozenset({Happening.QUEUED})
    for webhook_id, by, all_jobs in (
        ("anns", ANN, False),
        ("bobs", BOB, False),
        ("roots", ROOT, False),
        ("all", ROOT, True),
    ):
        keep(store, webhook_id, by, all_jobs=all_jobs, events=queued)
    store.submit("of_ann", make_spec(), now(), by=ANN, private=True)
    store.submit("of_bob", make_spec(), now(), by=BOB)
    store.submit("of_nobody", make_spec(), now())
    assert {(one.webhook.id, one.job_id) for one in due(store)} == {
        ("anns", "of_ann"),
        ("bobs", "of_bob"),
        ("all", "of_ann"),
        ("all", "of_bob"),
        ("all", "of_nobody"),
    }


def test_of_a_job_the_oldest_is_next_until_it_is_taken(store: Store) -> None:
    keep(store, "every", events=frozenset(Happening))
    job_in(store, Status.SUCCEEDED, "a")
    job_in(store, Status.RUNNING, "b")
    assert [(one.job_id, one.event) for one in due(store)] == [
        ("a", "job.queued"),
        ("b", "job.queued"),
    ]
    first = due(store)[0]
    later = now() + LATER
    store.write(lambda connection: put_off(connection, first, tried(first, delivered=False), later))
    # What follows on it waits; another job does not.
    assert [one.job_id for one in due(store)] == ["b"]
    again = due(store, later)[-1]
    assert (again.message_id, again.num_tries) == (first.message_id, 1)
    store.write(lambda connection: take(connection, again, tried(again)))
    assert ("a", "job.starting") in [(one.job_id, one.event) for one in due(store)]
    assert [one.event for one in take_all(store) if one.job_id == "a"] == [
        "job.starting",
        "job.running",
        "job.succeeded",
    ]


def test_one_webhook_leaves_room_for_others(store: Store) -> None:
    queued = frozenset({Happening.QUEUED})
    keep(store, "first", events=queued)
    for number in range(5):
        store.submit(f"job{number}", make_spec(), now())
    keep(store, "second", events=queued)
    store.submit("last", make_spec(), now())
    found = due(store, of_each=2)
    assert [one.webhook.id for one in found] == ["first", "first", "second"]
    assert len(due(store, at_most=4)) == 4


def test_one_owner_leaves_room_for_others(store: Store) -> None:
    queued = frozenset({Happening.QUEUED})
    for number in range(4):
        keep(store, f"root{number}", ROOT, all_jobs=True, events=queued)
    store.submit("first", make_spec(), now())
    store.submit("second", make_spec(), now())
    keep(store, "nobodys", events=queued)
    store.submit("third", make_spec(), now())
    found = due(store, of_each=1, of_owner=2)
    assert [one.webhook.owner for one in found] == ["root", "root", None]


def test_a_webhook_tells_what_became_of_its_last_try_and_never_its_secret(store: Store) -> None:
    webhook = keep(store, "told")
    job_in(store, Status.FAILED, "a")
    (delivery,) = due(store)
    failed = tried(delivery, delivered=False)
    store.write(lambda connection: note_try(connection, "told", failed))
    ((found, pending),) = store.read(lambda connection: list_webhooks(connection, EVERYONE))
    assert (pending, found.num_given_up, found.last_try) == (1, 0, failed)
    assert found == replace(webhook, last_try=failed)
    assert webhook.secret not in repr(found) + repr(delivery)
    assert webhook.url not in repr(found)
    store.write(lambda connection: take(connection, delivery, failed))
    ((found, pending),) = store.read(lambda connection: list_webhooks(connection, EVERYONE))
    assert (pending, found.num_given_up) == (0, 1)


def test_others_webhooks_are_not_there(store: Store) -> None:
    keep(store, "anns", ANN)
    keep(store, "nobodys")
    for caller, seen in ((ANN, ["anns"]), (BOB, []), (ROOT, ["nobodys", "anns"])):
        found = store.read(partial(list_webhooks, seen_by=caller))
        assert [one.id for one, _ in found] == seen
    for change in (
        lambda connection: find_webhook(connection, "anns", BOB),
        lambda connection: delete_webhook(connection, "anns", BOB, now()),
        lambda connection: delete_webhook(connection, "never", ROOT, now()),
    ):
        with pytest.raises(NoSuchWebhookError, match="alexnet webhooks list"):
            store.write(change)
    assert store.read(lambda connection: find_webhook(connection, "anns", ROOT)).id == "anns"


def test_a_webhook_goes_with_all_that_it_was_still_to_be_told(store: Store) -> None:
    keep(store, "gone", ROOT, all_jobs=True)
    keep(store, "stays", ROOT, all_jobs=True)
    job_in(store, Status.FAILED, "a")
    store.write(lambda connection: delete_webhook(connection, "gone", ROOT, now()))
    assert [one.webhook.id for one in due(store)] == ["stays"]
    job_in(store, Status.FAILED, "b")
    entries = store.read(lambda connection: read_audit(connection, target="gone", limit=9))
    assert [one.action for one in entries] == ["webhook.delete", "webhook.create"]
    assert "hooks.example.org" not in str(entries)


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_webhook_is_locked_before_what_it_is_to_be_told_of_as_when_it_is_deleted(
    store: Store, is_taken: bool
) -> None:
    keep(store, "told")
    job_in(store, Status.FAILED, "a")
    (delivery,) = due(store)

    def write_down(connection: Connection) -> list[str]:
        with statements(connection) as asked:
            if is_taken:
                take(connection, delivery, tried(delivery))
            else:
                put_off(connection, delivery, tried(delivery, delivered=False), now() + LATER)
        return [" ".join(statement.split()[:3]) for statement, _ in asked]

    first, second, third = store.write(write_down)
    assert first == "SELECT webhooks.id FROM"
    assert second in {"DELETE FROM deliveries", "UPDATE deliveries SET"}
    assert third == "UPDATE webhooks SET"


def test_what_another_leader_wrote_down_since_stands(store: Store) -> None:
    keep(store, "told")
    job_in(store, Status.FAILED, "a")
    (delivery,) = due(store)
    newer, late = tried(delivery, delivered=False), replace(tried(delivery), detail="late")
    soon, later = now() + LATER, now() + 2 * LATER
    store.write(lambda connection: put_off(connection, delivery, newer, soon))
    store.write(lambda connection: put_off(connection, delivery, late, later))
    store.write(lambda connection: take(connection, delivery, late))
    (again,) = due(store, soon)
    assert again.num_tries == 1
    assert again.webhook.last_try == newer
    store.write(lambda connection: take(connection, again, replace(late, detail="in time")))
    store.write(lambda connection: take(connection, again, replace(late, delivered=False)))
    ((found, pending),) = store.read(lambda connection: list_webhooks(connection, EVERYONE))
    assert (pending, found.num_given_up) == (0, 0)
    assert found.last_try is not None
    assert found.last_try.detail == "in time"


def test_what_is_too_old_is_given_up_in_pieces_and_counted(store: Store) -> None:
    queued = frozenset({Happening.QUEUED})
    keep(store, "first", events=queued)
    for number in range(5):
        store.submit(f"job{number}", make_spec(), now())
    keep(store, "second", events=queued)
    before = now_utc()
    store.submit("old", make_spec(), now())
    after = now_utc()
    store.submit("new", make_spec(), now())

    def give_up(at: datetime) -> tuple[str, int]:
        return store.write(lambda connection: give_up_old(connection, at, at_most=3))

    assert [give_up(before) for _ in range(3)] == [("first", 3), ("first", 2), ("", 0)]
    assert {give_up(after), give_up(after)} == {("first", 1), ("second", 1)}
    assert give_up(after) == ("", 0)
    found = store.read(lambda connection: list_webhooks(connection, EVERYONE))
    assert {(one.id, one.num_given_up, pending) for one, pending in found} == {
        ("first", 6, 1),
        ("second", 1, 1),
    }


def test_what_is_too_old_is_found_without_reading_all(store: Store) -> None:
    with statements(store._engine) as asked:
        store.write(lambda connection: give_up_old(connection, now(), at_most=3))
    if store._engine.dialect.name == "sqlite":
        assert len([one for one, _ in asked if "deliveries" in one]) == 1
        assert scanned(store, "deliveries", [one for one in asked if "deliveries" in one[0]]) == []


def test_the_end_of_a_job_is_told_though_the_job_is_deleted(store: Store) -> None:
    keep(store, "told")
    job_in(store, Status.FAILED, "a")
    store.write(lambda connection: delete_job(connection, "a", EVERYONE, now()))
    assert [one.event for one in due(store)] == ["job.failed"]


def test_an_owner_has_so_many_at_most(store: Store) -> None:
    for number in range(MAX_PER_OWNER):
        keep(store, f"w{number}", ANN)
    keep(store, "bobs", BOB)
    with pytest.raises(TooManyWebhooksError, match="delete one"):
        keep(store, "more", ANN)


def test_of_two_at_once_the_last_that_an_owner_may_have_is_made_once(store: Store) -> None:
    for number in range(MAX_PER_OWNER - 1):
        keep(store, f"w{number}", ANN)
    last = replace(keep(store, "bobs", BOB), id="last", owner="ann")
    with ThreadPoolExecutor(1) as pool:
        with store._writing.begin() as connection:
            create_webhook(connection, last, ANN, now())
            second = pool.submit(keep, store, "more", ANN)
            # SQLite has it wait from its beginning, which nothing tells.
            if connection.dialect.name == "postgresql":
                waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                wait_until(lambda: second.done() or connection.execute(waiting).scalar_one())
        with pytest.raises(TooManyWebhooksError):
            second.result()


def test_a_webhook_is_told_as_long_as_its_owner_could_make_it_anew(store: Store) -> None:
    def why(webhook: Webhook) -> str | None:
        return store.read(lambda connection: why_not_told(connection, webhook, now()))

    def add(owner: str, role: Role, expires_in: timedelta | None = None) -> str:
        record, _ = issue_token(
            owner=owner, role=role, description="", expires_in=expires_in, now=now()
        )
        store.write(lambda connection: create_token(connection, record, EVERYONE, now()))
        return record.id

    nobodys, anns, everyones = (
        keep(store, "nobodys"),
        keep(store, "anns", ANN),
        keep(store, "everyones", ANN, all_jobs=True),
    )
    assert why(nobodys) is None
    assert "ann has no valid token of the role submitter" in (why(anns) or "")
    add("ann", Role.VIEWER)
    add("ann", Role.SUBMITTER, expires_in=timedelta(0))
    add("bob", Role.ADMIN)
    assert why(anns) is not None
    assert "before there were tokens" in (why(nobodys) or "")
    token_id = add("ann", Role.SUBMITTER, expires_in=timedelta(days=1))
    assert why(anns) is None
    assert "of the role admin" in (why(everyones) or "")
    add("ann", Role.ADMIN)
    assert why(everyones) is None
    store.write(lambda connection: revoke_token(connection, token_id, EVERYONE, now()))
    assert why(anns) is None
