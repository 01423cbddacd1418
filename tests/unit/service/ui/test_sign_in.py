"""A token becomes a cookie, and is forgotten, over real HTTP."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from service.access.caller import EVERYONE, Caller, Role
from service.access.identity import COOKIE, HOST_COOKIE
from service.settings import Settings
from service.store.tokens import revoke_token
from tests.unit.service.conftest import make_spec, now
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import Guarded, add_token, guarding
from tests.unit.service.ui.conftest import OURS
from tests.waiting import ANSWERED_WITHIN_S


@pytest.fixture
def browser(guarded: Guarded) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.url, headers=OURS, timeout=ANSWERED_WITHIN_S) as client:
        yield client


def sign_in(browser: httpx.Client, token: object, where: str = "/ui/") -> httpx.Response:
    return browser.post("/ui/sign-in", data={"token": str(token), "next": where})


def test_whoever_signs_in_is_led_to_what_they_asked_for_and_known_from_then_on(
    guarded: Guarded, browser: httpx.Client
) -> None:
    asked = browser.get("/ui/?status=RUNNING", follow_redirects=True)
    assert 'value="/ui/?status=RUNNING"' in asked.text
    answer = sign_in(browser, add_token(guarded.plane, "ann", Role.VIEWER), "/ui/?status=RUNNING")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/?status=RUNNING")
    page = browser.get("/ui/")
    assert page.status_code == 200
    assert "Sign out" in page.text
    assert ">ann<" in page.text
    # What is known need not sign in.
    assert browser.get("/ui/sign-in").headers["Location"] == "/ui/"


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_ends_with_the_session(
    guarded: Guarded, browser: httpx.Client
) -> None:
    token = add_token(guarded.plane, "ann", Role.VIEWER)
    cookies = cookies_of(sign_in(browser, token))
    assert cookies[COOKIE] == (str(token), {"httponly", "samesite=strict", "path=/"})
    # What an earlier one, by https, may have left here is forgotten.
    value, flags = cookies[HOST_COOKIE]
    assert value == '""'
    assert {"max-age=0", "secure", "path=/"} <= flags


def test_behind_tls_the_cookie_is_sent_by_it_alone(
    settings: Settings, databases: Databases
) -> None:
    with guarding(settings, databases, trusted_proxies=("127.0.0.1",)) as guarded:
        check_cookie_of_host(guarded, {"X-Forwarded-Proto": "https"})


def test_so_it_is_behind_a_proxy_that_nobody_trusts(guarded: Guarded) -> None:
    cookie = check_cookie_of_host(guarded, {"Origin": "https://train.example"})
    # Of what asks for nothing to be changed the service is not told how it came.
    assert guarded.nobody.get("/ui/", headers={"Cookie": cookie}).status_code == 200
    planted = f"{COOKIE}={add_token(guarded.plane, 'eve', Role.VIEWER)}; {cookie}"
    assert ">ann<" in guarded.nobody.get("/ui/", headers={"Cookie": planted}).text


def check_cookie_of_host(guarded: Guarded, headers: dict[str, str]) -> str:
    """Sign in by https; return what the browser sends from then on."""
    token = add_token(guarded.plane, "ann", Role.VIEWER)
    form = {"token": str(token)}
    answer = guarded.nobody.post("/ui/sign-in", data=form, headers=OURS | headers)
    guarded.nobody.cookies.clear()
    cookies = cookies_of(answer)
    kept = {"httponly", "samesite=strict", "path=/", "secure"}
    assert cookies[HOST_COOKIE] == (str(token), kept)
    assert "max-age=0" in cookies[COOKIE][1]
    return f"{HOST_COOKIE}={token}"


def test_whoever_may_only_look_by_their_cookie_is_asked_for_the_token_again(
    guarded: Guarded,
) -> None:
    headers = {"Cookie": f"{COOKIE}={add_token(guarded.plane, 'ann', Role.SUBMITTER)}"}
    assert guarded.nobody.get("/ui/", headers=headers).status_code == 200
    changed = {**headers, **OURS, "Origin": "https://train.example"}
    refused = guarded.nobody.post("/ui/jobs/none/cancel", headers=changed)
    assert refused.status_code == 303
    asked = guarded.nobody.get(refused.headers["Location"], headers=headers)
    assert asked.status_code == 200
    assert "Nothing was changed" in asked.text
    assert 'id="token"' in asked.text


def cookies_of(answer: httpx.Response) -> dict[str, tuple[str, set[str]]]:
    """Return the value and the flags of each cookie that is set."""
    found = {}
    for header in answer.headers.get_list("Set-Cookie"):
        named, *flags = (one.strip() for one in header.split(";"))
        name, _, value = named.partition("=")
        found[name] = (value, {flag.lower() for flag in flags})
    return found


@pytest.mark.parametrize("token", ["", "guess", "alexnet_000000000000_" + "a" * 43])
def test_what_is_no_token_is_refused_beside_the_field(browser: httpx.Client, token: str) -> None:
    answer = sign_in(browser, token)
    assert answer.status_code == 401
    assert 'id="token-error"' in answer.text
    assert "Set-Cookie" not in answer.headers
    assert token == "" or token not in answer.text


def test_an_expired_token_is_none(guarded: Guarded, browser: httpx.Client) -> None:
    token = add_token(guarded.plane, "ann", Role.VIEWER, expires_in=timedelta(seconds=-1))
    answer = sign_in(browser, token)
    assert answer.status_code == 401
    assert "this token has expired" in answer.text
    guess = f"{str(token)[:-1]}{'a' if str(token)[-1] != 'a' else 'b'}"
    assert "no token that the service knows" in sign_in(browser, guess).text


def test_a_revoked_token_is_asked_for_again(guarded: Guarded, browser: httpx.Client) -> None:
    token = add_token(guarded.plane, "ann", Role.VIEWER)
    sign_in(browser, token)
    guarded.plane.store.write(
        lambda connection: revoke_token(connection, token.id, EVERYONE, now())
    )
    assert browser.get("/ui/").headers["Location"].startswith("/ui/sign-in")
    assert "your browser kept was revoked" in browser.get("/ui/", follow_redirects=True).text


@pytest.mark.parametrize(
    ("cookie", "why"),
    [
        ("", "your browser has kept none"),
        (f"{COOKIE}=guess", "does not know the token that your browser kept"),
    ],
)
def test_the_page_says_why_it_asks(guarded: Guarded, cookie: str, why: str) -> None:
    html = guarded.nobody.get("/ui/sign-in", headers={"Cookie": cookie}).text
    assert why in html
    assert "alexnet tokens create" in html


def test_of_an_expired_token_that_is_said(guarded: Guarded) -> None:
    token = add_token(guarded.plane, "ann", Role.VIEWER, expires_in=timedelta(seconds=-1))
    html = guarded.nobody.get("/ui/sign-in", headers={"Cookie": f"{COOKIE}={token}"}).text
    assert "your browser kept has expired" in html


def test_where_there_are_no_tokens_a_proxy_is_told_to_make_one(
    settings: Settings, databases: Databases
) -> None:
    with guarding(settings, databases, with_tokens=False) as served:
        html = served.nobody.get("/ui/sign-in", headers={"Via": "1.1 proxy"}).text
        assert "came through a proxy" in html


def test_whoever_signs_out_is_forgotten(guarded: Guarded, browser: httpx.Client) -> None:
    sign_in(browser, add_token(guarded.plane, "ann", Role.VIEWER))
    answer = browser.post("/ui/sign-out")
    assert answer.headers["Location"] == "/ui/sign-in"
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    assert COOKIE not in browser.cookies
    assert set(cookies_of(answer)) == {COOKIE, HOST_COOKIE}
    assert browser.get("/ui/").status_code == 303


@pytest.mark.parametrize("path", ["/ui/sign-in", "/ui/sign-out"])
@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_no_other_site_signs_anyone_in_or_out(guarded: Guarded, path: str, site: str) -> None:
    token = add_token(guarded.plane, "eve", Role.VIEWER)
    headers = {"Sec-Fetch-Site": site}
    answer = guarded.nobody.post(path, data={"token": str(token)}, headers=headers)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_the_page_reads_the_api_by_its_cookie_and_no_other_site_writes_by_it(
    guarded: Guarded, browser: httpx.Client
) -> None:
    store = guarded.plane.store
    ann = Caller(owner="ann", role=Role.SUBMITTER)
    store.submit("own", make_spec(), now(), by=ann, private=True)
    sign_in(browser, add_token(guarded.plane, "ann", Role.SUBMITTER))
    assert browser.get("/jobs/own").status_code == 200
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
        for path in ("/jobs/own/cancel", "/ui/jobs/own/cancel", "/jobs", "/ui/submit"):
            assert browser.post(path, headers=headers).status_code == 403
    bare = httpx.post(
        f"{guarded.url}/jobs/own/cancel", cookies=dict(browser.cookies), timeout=ANSWERED_WITHIN_S
    )
    assert bare.status_code == 403
    assert store.job("own").desired == "run"
    assert browser.post("/ui/jobs/own/pause").status_code == 303
    assert store.job("own").desired == "pause"


def test_a_guess_in_a_cookie_is_limited_as_one_in_a_header(guarded: Guarded) -> None:
    answer = guarded.nobody.get("/jobs", headers={"Cookie": f"{COOKIE}=guess"})
    assert answer.status_code == 401
