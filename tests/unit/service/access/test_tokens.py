"""Tokens: drawn, taken apart, held against what is stored."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.caller import Role, Unknown
from service.access.tokens import (
    NewToken,
    TokenRecord,
    is_use_due,
    issue_token,
    parse_token,
    why_unknown,
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
    assert why_unknown(record, token, NOW) is None
    is_same = other == token.secret
    assert (why_unknown(record, replace(token, secret=other), NOW) is None) == is_same
    for wrong in (replace(token, secret=token.secret[:position]), replace(token, id="0" * 12)):
        assert why_unknown(record, wrong, NOW) is Unknown.WRONG
    assert why_unknown(None, token, NOW) is Unknown.WRONG


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (timedelta(0), None),
        (MINUTE - timedelta(microseconds=1), None),
        (MINUTE, Unknown.EXPIRED),
    ],
)
def test_a_token_ends_at_its_time(after: timedelta, why: Unknown | None) -> None:
    record, token = issued(expires_in=MINUTE)
    assert why_unknown(record, token, NOW + after) is why


def test_a_revoked_token_is_none() -> None:
    record, token = issued()
    assert why_unknown(replace(record, revoked_at=NOW), token, NOW) is Unknown.REVOKED


@pytest.mark.parametrize("revoked_at", [None, NOW])
def test_whoever_guesses_is_not_told_how_a_token_ended(revoked_at: datetime | None) -> None:
    record, token = issued(expires_in=MINUTE)
    ended = replace(record, revoked_at=revoked_at)
    guess = replace(token, secret="a" * 43)
    assert why_unknown(ended, guess, NOW + MINUTE) is Unknown.WRONG


def test_its_use_is_written_down_once_a_minute() -> None:
    record, _ = issued()
    assert is_use_due(record, NOW)
    used = replace(record, used_at=NOW)
    assert not is_use_due(used, NOW + MINUTE - timedelta(microseconds=1))
    assert is_use_due(used, NOW + MINUTE)
