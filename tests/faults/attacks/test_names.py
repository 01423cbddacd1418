"""Names, and bytes, that a terminal, a database, a path or HTTP might take for its own."""

import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.faults.attacks.targets import ATTACK, Target
from tests.faults.attacks.test_who_asks import UNKNOWN, operations
from tests.faults.trials import Trial, Trials

NAMES = "control characters in names, a thousand labels"
SQL = "SQL metacharacters, bad UTF-8"


# Names that a terminal, a header or a page might obey, or that are too long

CONTROL = ("\x1b[31mred", "a\nb", "a\r\nSet-Cookie: a=b", "\x00", "\x7f", "\x9b2J", "a\u202egpj")


def show(trial: Trial, target: Target, name: str) -> None:
    """Have a name stored if that is possible, and shown everywhere that it could be."""
    places: list[dict[str, Any]] = [
        {"name": name},
        {"labels": {name: "a"}},
        {"labels": {"a": name}},
    ]
    answers = [target.ask("POST", "/jobs", json=target.body | one) for one in places]
    for place, answer in zip(places, answers, strict=True):
        refused = answer.status_code == 422
        trial.must(refused, "A", f"{place!r}: {answer.status_code} {answer.text[:200]!r}")
    answers.append(target.ask("POST", "/tokens", json={"owner": name, "role": "viewer"}))
    answers += [
        target.ask("GET", f"/jobs/{quote(name, safe='')}"),
        target.ask("GET", f"/jobs?label={quote(name, safe='')}=1"),
        target.ask("DELETE", f"/tokens/{quote(name, safe='')}"),
        target.ask("GET", f"/jobs/queued/artifacts/{quote(name, safe='')}"),
        target.ask("GET", "/audit"),
    ]
    for answer in answers:
        raw = [one for one in answer.content if one < 32 and one not in b"\t\n"]
        trial.must(not raw, "A", f"{answer.request.url}: {answer.content[:200]!r}")
        trial.must("set-cookie" not in answer.headers, "A", "a header was put in")
    target.check_whole(trial)


@pytest.mark.parametrize("name", CONTROL, ids=ascii)
def test_control_characters_in_names_are_refused_and_shown_escaped(
    faults: Trials, target: Target, name: str
) -> None:
    with faults.trial(ATTACK, NAMES) as trial:
        show(trial, target, name)


LONG: Mapping[str, dict[str, Any]] = {
    "a thousand labels": {"labels": {f"label-{n}": "x" for n in range(1000)}},
    "a label of a megabyte": {"labels": {"a": "x" * 900_000}},
    "a name of a megabyte": {"name": "x" * 900_000},
    "a location of a megabyte": {"data": {"train": "x" * 900_000, "validation": "y"}},
}


@pytest.mark.parametrize("what", LONG)
def test_what_is_too_long_is_refused_in_few_words(
    faults: Trials, target: Target, what: str
) -> None:
    with faults.trial(ATTACK, NAMES) as trial:
        answer = target.ask("POST", "/jobs", json=target.body | LONG[what])
        trial.must(answer.status_code == 422, "A", f"{what}: {answer.status_code}")
        trial.must(len(answer.content) < 100_000, "A", f"{what}: {len(answer.content)} bytes back")
        target.check_whole(trial)


# What a database, or a path, might take for its own

META = (
    "' OR '1'='1",
    "'; DROP TABLE jobs; --",
    '"; DELETE FROM tokens; --',
    "\\",
    "%",
    "_",
    "%25",
    "queued%00",
    "queued'--",
    "$(id)",
    "{{7*7}}",
    "../queued",
    "..%2fqueued",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
)
BAD_UTF8 = ("%ff", "%fe%ff", "%c0%af", "%ed%a0%80", "%f5%80%80%80")


def paths_with(target: Target, word: str) -> Iterator[tuple[str, str]]:
    """Yield every route with a word, as it is, in place of each name; and queries."""
    for method, path in operations(target):
        for name in ("queued", UNKNOWN, "ann", "report.json"):
            if f"/{name}" in path:
                yield method, path.replace(name, word)
    for query in ("label=team=", "label=", "cursor=", "status=", "owner=", "q="):
        yield "GET", f"/jobs?{query}{word}"


def inject(trial: Trial, target: Target, word: str) -> None:
    """Put a word, which is quoted already, where there are names."""
    before = target.num_jobs(), len(target.ask("GET", "/tokens").json()["tokens"])
    for method, path in paths_with(target, word):
        answer = target.ask(method, path, headers={"Accept": "application/json"})
        trial.must(answer.status_code < 500, "A", f"{method} {path}: {answer.text[:200]}")
    found = client_jobs(target, f"/jobs?label=team={word}")
    trial.must(not found, "A", f"a label of nobody's finds {found}")
    after = target.num_jobs(), len(target.ask("GET", "/tokens").json()["tokens"])
    trial.must(after == before, "A", f"{word!r} has changed what is stored: {before} to {after}")
    target.check_whole(trial)


def client_jobs(target: Target, path: str) -> list[Any]:
    answer = target.ask("GET", path)
    return list(answer.json()["jobs"]) if answer.is_success else []


@pytest.mark.parametrize("word", META, ids=ascii)
def test_metacharacters_in_names_mean_themselves(faults: Trials, target: Target, word: str) -> None:
    with faults.trial(ATTACK, SQL) as trial:
        inject(trial, target, quote(word, safe=""))


@pytest.mark.parametrize("word", BAD_UTF8)
def test_bad_utf8_is_no_fault_of_the_service(faults: Trials, target: Target, word: str) -> None:
    with faults.trial(ATTACK, SQL) as trial:
        inject(trial, target, word)


# Bytes that are no request

RAW: Mapping[str, bytes] = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a header that is no text": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX-A: \xff\xfe\r\n\r\n",
    "a token that is no text": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n"
    b"Authorization: Bearer \xff\xfe\x80\r\n\r\n",
    "a path that is no text": b"GET /jobs/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two lengths": b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\n{}",
    "a length and chunks": b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /tokens HTTP/1.1\r\n\r\n",
    "headers without end": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 100_000,
    "a line without end": b"GET /" + b"a" * 1_000_000,
}


@pytest.mark.parametrize("what", RAW)
def test_what_is_no_request_is_refused(faults: Trials, target: Target, what: str) -> None:
    with faults.trial(ATTACK, SQL) as trial:
        place = urlsplit(target.plane.url)
        with (
            target.in_bounded_memory(trial),
            socket.create_connection((place.hostname, place.port), timeout=10) as connection,
        ):
            try:
                connection.sendall(RAW[what])
                answer = connection.recv(4096)
            except (BrokenPipeError, ConnectionResetError):
                answer = b""
        status = answer.split()[1].decode() if answer else "none"
        trial.must(status[0] in "4n", "A", f"{what}: {answer[:200]!r}")
        target.check_whole(trial)
