"""Tokens: drawn, taken apart, held against what is stored."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.caller import Role
from service.access.tokens import (
    NewToken,
    TokenRecord,
    is_use_due,
    is_valid,
    issue_token,
    parse_token,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def issued(*, expires_in: timedelta | None = None) -> tuple[TokenRecord, NewToken]:
    return issue_token(
        owner="ann", role=Role.VIEWER, description="", expires_in=expires_in, now=NOW
    )


def test_a_token_is_taken_apart_as_it_was_put_together_and_its_record_tells_no_secret() -> None:
    seen = set()
    for _ in range(100):
        record, token = issued()
        assert re.fullmatch(r"alexnet_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", str(token))
        assert parse_token(str(token)) == token
        assert token.secret not in repr(record)
        seen.add(token.secret)
    assert len(seen) == 100


@given(
    text=st.text()
    | st.builds(
        "{}_{}_{}{}".format,
        st.sampled_from(["alexnet", "Alexnet", ""]),
        st.text("0123456789abcdefG", min_size=11, max_size=13),
        st.text("aZ9_-", min_size=42, max_size=44),
        st.sampled_from(["", "", "\n", " "]),
    )
)
def test_what_is_no_token_is_none(text: str) -> None:
    token = parse_token(text)
    assert token is None or str(token) == text


@given(position=st.integers(0, 42), letter=st.sampled_from("ABCabc019_-"))
def test_a_secret_is_valid_whole_or_not_at_all(position: int, letter: str) -> None:
    record, token = issued()
    other = token.secret[:position] + letter + token.secret[position + 1 :]
    assert is_valid(record, token.secret, NOW)
    assert is_valid(record, other, NOW) == (other == token.secret)
    assert not is_valid(record, token.secret[:position], NOW)


@pytest.mark.parametrize(
    ("after", "valid"),
    [(timedelta(0), True), (MINUTE - timedelta(microseconds=1), True), (MINUTE, False)],
)
def test_a_token_ends_at_its_time(after: timedelta, *, valid: bool) -> None:
    record, token = issued(expires_in=MINUTE)
    assert is_valid(record, token.secret, NOW + after) == valid


def test_a_revoked_token_is_none() -> None:
    record, token = issued()
    assert not is_valid(replace(record, revoked_at=NOW), token.secret, NOW)


def test_its_use_is_written_down_once_a_minute() -> None:
    record, _ = issued()
    assert is_use_due(record, NOW)
    used = replace(record, used_at=NOW)
    assert not is_use_due(used, NOW + MINUTE - timedelta(microseconds=1))
    assert is_use_due(used, NOW + MINUTE)
