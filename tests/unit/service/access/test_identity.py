"""Who a request comes from."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from service.access.caller import Caller, ForbiddenError, Role, UnidentifiedError
from service.access.identity import COOKIE, HOST_COOKIE, Credentials, identify
from service.access.tokens import TokenRecord, issue_token

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RECORD, TOKEN = issue_token(
    owner="ann", role=Role.SUBMITTER, description="", expires_in=None, now=NOW
)
OTHER, _ = issue_token(owner="bob", role=Role.ADMIN, description="", expires_in=None, now=NOW)


def sent(method: str = "GET", **headers: str) -> Credentials:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Credentials(method=method, headers=names, address="10.0.0.1")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_tells_owner_and_role(scheme: str) -> None:
    credentials = sent(authorization=f"{scheme} {TOKEN}")
    assert credentials.token_id == RECORD.id
    assert identify(credentials, RECORD, is_open=False, now=NOW) == Caller(
        owner="ann", role=Role.SUBMITTER, address="10.0.0.1", token_id=RECORD.id
    )


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", str(TOKEN)],
    ids=[
        "none",
        "empty",
        "no token",
        "no token of this service",
        "another scheme",
        "a letter more",
        "no scheme",
    ],
)
def test_without_a_token_nobody_is_known_and_how_to_send_one_is_told(header: str | None) -> None:
    credentials = sent() if header is None else sent(authorization=header)
    with pytest.raises(UnidentifiedError, match="ALEXNET_TOKEN"):
        identify(credentials, None, is_open=False, now=NOW)


@pytest.mark.parametrize("known", [None, OTHER], ids=["none", "another's"])
def test_a_token_that_is_not_the_stored_one_is_none(known: TokenRecord | None) -> None:
    with pytest.raises(UnidentifiedError, match="unknown, revoked or expired"):
        identify(sent(authorization=f"Bearer {TOKEN}"), known, is_open=False, now=NOW)


def test_where_none_are_asked_for_everyone_is_an_admin_whatever_token_they_send() -> None:
    for credentials in (sent(), sent(authorization="Bearer of another service")):
        caller = identify(credentials, None, is_open=True, now=NOW)
        assert (caller.owner, caller.role) == (None, Role.ADMIN)


@pytest.mark.parametrize(
    "name",
    ["forwarded", "via", "x_forwarded_for", "x_forwarded_proto", "x_forwarded_host", "x_real_ip"],
)
def test_what_a_proxy_passes_on_does_not_come_from_this_machine(name: str) -> None:
    with pytest.raises(UnidentifiedError, match="came through a proxy"):
        identify(sent(**{name: "1.2.3.4"}), None, is_open=True, now=NOW)


@pytest.mark.parametrize(
    ("method", "headers", "refused"),
    [
        ("POST", {"sec_fetch_site": "cross-site"}, True),
        ("DELETE", {"sec_fetch_site": "same-site"}, True),
        ("POST", {"origin": "https://evil.example", "host": "127.0.0.1:8000"}, True),
        ("POST", {"origin": "null", "host": "127.0.0.1:8000"}, True),
        ("POST", {"origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"}, False),
        ("POST", {"sec_fetch_site": "same-origin"}, False),
        ("GET", {"sec_fetch_site": "cross-site"}, False),
        ("POST", {}, False),
    ],
)
def test_a_page_of_another_site_changes_nothing_through_a_browser(
    method: str, headers: dict[str, str], *, refused: bool
) -> None:
    if refused:
        with pytest.raises(ForbiddenError, match="another site"):
            identify(sent(method, **headers), None, is_open=True, now=NOW)
    else:
        assert identify(sent(method, **headers), None, is_open=True, now=NOW).is_admin


def by_cookie(method: str = "GET", **headers: str) -> Credentials:
    return sent(method, cookie=f"a=b; {COOKIE}={TOKEN}", **headers)


def test_a_page_reads_by_its_cookie_as_by_the_token() -> None:
    caller = identify(by_cookie(), RECORD, is_open=False, now=NOW)
    assert (caller.owner, caller.token_id) == ("ann", RECORD.id)


def test_a_token_that_is_sent_counts_and_not_the_cookie_beside_it() -> None:
    credentials = by_cookie("POST", authorization="Bearer guess")
    assert credentials.token == "guess"
    with pytest.raises(UnidentifiedError, match="not a token"):
        identify(credentials, RECORD, is_open=False, now=NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "same-origin"},
        {"origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"},
    ],
    ids=["as the browser says", "by its origin"],
)
def test_a_page_of_our_own_changes_something_by_its_cookie(headers: dict[str, str]) -> None:
    assert identify(by_cookie("POST", **headers), RECORD, is_open=False, now=NOW).owner == "ann"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "cross-site"},
        {
            "sec_fetch_site": "same-site",
            "origin": "http://127.0.0.1:8000",
            "host": "127.0.0.1:8000",
        },
        {"sec_fetch_site": "none"},
        {"origin": "null", "host": "127.0.0.1:8000"},
        {"origin": "http://127.0.0.1:9000", "host": "127.0.0.1:8000"},
        {"origin": "http://evil.example", "host": "127.0.0.1:8000"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nobody_else_changes_anything_by_it(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(ForbiddenError, match="Bearer"):
        identify(by_cookie(method, **headers), RECORD, is_open=False, now=NOW)
    bearer = sent(method, authorization=f"Bearer {TOKEN}", **headers)
    assert identify(bearer, RECORD, is_open=False, now=NOW).owner == "ann"


@pytest.mark.parametrize(
    "cookie",
    ["", "=", f"{COOKIE}=", f"other={TOKEN}", f"{COOKIE}={TOKEN}x"],
    # The token is another in each process that runs tests.
    ids=["none", "no name", "no value", "another's name", "another value"],
)
def test_what_is_no_cookie_of_a_token_tells_nobody(cookie: str) -> None:
    with pytest.raises(UnidentifiedError):
        identify(sent(cookie=cookie), RECORD, is_open=False, now=NOW)


@pytest.mark.parametrize(
    "others",
    [
        "a=b",
        "a",
        "=",
        "",
        'a="',
        'a="x; y',
        "a b=c",
        "a=[1, 2]",
        "ä=ö",
        "a[]=1",
        "x" + COOKIE + "=1",
    ],
)
def test_cookies_of_others_hide_it_neither_before_nor_after(others: str) -> None:
    for cookie in (f"{others}; {COOKIE}={TOKEN}", f"{COOKIE}={TOKEN} ;{others}"):
        assert sent(cookie=cookie).token == str(TOKEN)


def test_the_first_of_the_name_counts() -> None:
    credentials = sent(cookie=f"{COOKIE}={TOKEN}; {COOKIE}=other")
    assert identify(credentials, RECORD, is_open=False, now=NOW).owner == "ann"


@pytest.mark.parametrize("name", [COOKIE, HOST_COOKIE])
def test_a_cookie_too_long_to_be_a_token_is_none(name: str) -> None:
    credentials = sent(cookie=f"{name}={'a' * 201}")
    assert credentials.is_by_cookie
    assert credentials.token == ""


@pytest.mark.parametrize(
    "strong",
    [str(TOKEN), "no token", "", "a" * 201],
    ids=["a token", "no token", "empty", "too long"],
)
def test_the_weaker_cookie_never_stands_in_for_the_stronger(strong: str) -> None:
    for cookie in (
        f"{COOKIE}=planted; {HOST_COOKIE}={strong}",
        f"{HOST_COOKIE}={strong}; {COOKIE}=planted",
        f"{HOST_COOKIE}={strong}; {HOST_COOKIE}=planted",
    ):
        assert sent(cookie=cookie).token == (strong if len(strong) <= 200 else "")


@pytest.mark.parametrize(
    ("scheme", "origin"),
    [("https", None), ("http", "https://train.example"), ("http", "HTTPS://train.example")],
    ids=["as it came", "by its origin", "in capitals"],
)
def test_what_came_by_https_has_no_weaker_one(scheme: str, origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}
    weak = replace(sent("POST", cookie=f"{COOKIE}={TOKEN}", **headers), scheme=scheme)
    assert (weak.token, weak.is_by_cookie) == (None, False)
    strong = replace(sent("POST", cookie=f"{HOST_COOKIE}={TOKEN}", **headers), scheme=scheme)
    assert strong.token == str(TOKEN)


def test_what_a_tls_proxy_passed_on_by_http_is_known_by_the_stronger_one() -> None:
    assert sent(cookie=f"{HOST_COOKIE}={TOKEN}").token == str(TOKEN)


def test_a_long_header_of_cookies_takes_no_time() -> None:
    # Of the processor, which others may have meanwhile.
    start = time.thread_time()
    for value in ('"' + "\\1" * 40_000 + '"', "\\" * 60_000, "; =" * 30_000):
        assert sent(cookie=f"{COOKIE}={value}").token_id is None
    assert time.thread_time() - start < 1


@pytest.mark.parametrize("other", ["Basic YTpi", "Negotiate abc", "", "token"])
def test_what_a_proxy_asks_for_disables_no_cookie_and_saves_no_check(other: str) -> None:
    own = by_cookie("POST", authorization=other, sec_fetch_site="same-origin")
    assert identify(own, RECORD, is_open=False, now=NOW).owner == "ann"
    with pytest.raises(ForbiddenError, match="Bearer"):
        identify(by_cookie("POST", authorization=other), RECORD, is_open=False, now=NOW)


@pytest.mark.parametrize("space", ["\x85", "\xa0", "\x1c"])
def test_no_cookie_that_another_site_may_set_counts_as_the_host_s(space: str) -> None:
    planted = f"{space}{HOST_COOKIE}=planted; {HOST_COOKIE}={TOKEN}"
    assert replace(sent(cookie=planted), scheme="https").token == str(TOKEN)


@pytest.mark.parametrize(
    ("host", "is_by_https"),
    [
        ("train.example", True),
        ("train.example:8443", True),
        ("10.0.0.7", True),
        ("127.0.0.1:8000", False),
        ("[::1]:8000", False),
        ("localhost:8000", False),
        ("train.localhost", False),
        ("[", True),
        (None, False),
    ],
)
def test_a_browser_that_tells_its_site_came_by_https_or_from_this_machine(
    host: str | None, *, is_by_https: bool
) -> None:
    # Where it came by https, the cookie that could have been planted by http tells nobody.
    headers = {"sec_fetch_site": "none", **({} if host is None else {"host": host})}
    assert (by_cookie(**headers).token is None) == is_by_https
    assert by_cookie(**({} if host is None else {"host": host})).token == str(TOKEN)
