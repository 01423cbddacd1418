"""Tokens in the store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from service.access.caller import EVERYONE, Caller, Role
from service.access.tokens import TokenRecord, issue_token
from service.store.audit import read_audit
from service.store.store import Store
from service.store.tokens import (
    NoSuchTokenError,
    are_there_tokens,
    create_token,
    digests_of_live_tokens,
    find_token,
    has_tokens,
    list_tokens,
    note_use,
    revoke_token,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
ROOT = Caller(owner="root", role=Role.ADMIN, address="10.0.0.1", token_id="b00")


def add(store: Store, *, at: datetime = NOW, owner: str = "ann") -> TokenRecord:
    record, _ = issue_token(
        owner=owner,
        role=Role.SUBMITTER,
        description="for tests",
        expires_in=timedelta(days=1),
        now=at,
    )
    store.write(lambda connection: create_token(connection, record, ROOT, at))
    return record


def test_a_token_is_found_as_it_was_made(store: Store) -> None:
    assert not store.read(are_there_tokens)
    record = add(store)
    assert store.read(are_there_tokens)
    assert store.read(has_tokens)
    assert store.read(lambda connection: find_token(connection, record.id)) == record
    assert store.read(lambda connection: find_token(connection, "other")) is None


def test_tokens_are_listed_the_newest_first(store: Store) -> None:
    made = [add(store, at=NOW + timedelta(seconds=n)) for n in range(3)]
    assert store.read(list_tokens) == made[::-1]


def test_the_digests_of_tokens_are_those_of_all_that_are_live(store: Store) -> None:
    live, ended = add(store), add(store)
    store.write(partial(revoke_token, token_id=ended.id, by=ROOT, now=NOW))
    for_good = replace(add(store), id="f00", token_sha256="f00", expires_at=None)
    store.write(lambda connection: create_token(connection, for_good, ROOT, NOW))
    expired = add(store, at=NOW - timedelta(days=1))

    def digests(now: datetime) -> dict[str, str]:
        return store.read(partial(digests_of_live_tokens, now=now))

    for at in (NOW - timedelta(seconds=1), NOW, NOW + timedelta(days=1)):
        every = [one for one in store.read(list_tokens) if one.is_live(at)]
        assert digests(at) == {one.id: one.token_sha256 for one in every}
    assert {live.id, "f00"} <= digests(NOW).keys()
    assert not {ended.id, expired.id} & digests(NOW).keys()


def test_revoking_ends_a_token_once_and_the_last_opens_nothing(store: Store) -> None:
    record = add(store)
    for later in (NOW, NOW + timedelta(hours=1)):
        ended = store.write(partial(revoke_token, token_id=record.id, by=ROOT, now=later))
        assert ended.revoked_at == NOW
        assert not ended.is_live(NOW)
    assert store.read(are_there_tokens)
    with pytest.raises(NoSuchTokenError, match="no token 'other'"):
        store.write(lambda connection: revoke_token(connection, "other", EVERYONE, NOW))


def test_its_use_is_written_down(store: Store) -> None:
    record = add(store)
    store.write(lambda connection: note_use(connection, record.id, NOW))
    found = store.read(lambda connection: find_token(connection, record.id))
    assert found is not None
    assert found.used_at == NOW


def test_what_is_done_to_tokens_is_in_the_audit_log_with_whoever_did_it(store: Store) -> None:
    record = add(store)
    store.write(lambda connection: revoke_token(connection, record.id, ROOT, NOW))
    entries = store.read(lambda connection: read_audit(connection, limit=10))
    assert [entry.action for entry in entries] == ["token.revoke", "token.create"]
    for entry in entries:
        assert (entry.actor, entry.address, entry.target) == ("root", "10.0.0.1", record.id)
        assert entry.detail is not None
        assert entry.detail["token"] == "b00"
        assert entry.detail["owner"] == "ann"


def test_a_store_without_tables_has_no_tokens(empty_store_url: str) -> None:
    store = Store(empty_store_url)
    assert not store.read(has_tokens)
    store.close()
