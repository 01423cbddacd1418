"""Requests that ask for what no client may have, or that mean to break whoever reads them."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.faults.attacks.targets import ATTACK, SPARE_BYTES, Target, attacked
from tests.faults.attacks.test_who_asks import UNKNOWN, operations
from tests.faults.trials import Trial, Trials

JSON = {"Content-Type": "application/json"}
FORBIDDEN_FIELD = "a field the client may not set"
TOO_LARGE = "100 MB of JSON"
TOO_DEEP = "deep nesting, 2^63, NaN"
FLOOD = "a flood"
KEYS = "one idempotency key with another body"
NAMES = "control characters in names, a thousand labels"
SQL = "SQL metacharacters, bad UTF-8"


# Fields that are not the client's

FIELDS: Mapping[str, Any] = {
    "id": "mine",
    "status": "SUCCEEDED",
    "desired": "cancel",
    "attempt": 7,
    "num_failures": -1000,
    "owner": "root",
    "entrypoint": "sh -c id",
    "command": ["sh"],
    "runtime_env": {"pip": ["evil"], "env_vars": {"LD_PRELOAD": "/tmp/evil.so"}},
    "env_vars": {"LD_PRELOAD": "/tmp/evil.so"},
    "run_directory": "/etc",
    "data_roots": ["/"],
    "control_plane_url": "http://evil.example",
    "resume_from": "../../other",
    "token": "mine",
    "fence": 10**9,
}


def submit_with(trial: Trial, target: Target, name: str) -> None:
    """Submit a request that has a field more: at the top, and in each group that there is."""
    before = target.num_jobs()
    groups: dict[str, Any] = {"optim": {}, "scale": {}, "checkpoint": {}, "retry": {}}
    bodies = [{name: FIELDS[name]}, *({group: {name: FIELDS[name]}} for group in groups)]
    for path in ("/jobs", "/jobs/plan"):
        for more in bodies:
            answer = target.ask("POST", path, token="submitter", json=target.body | more)
            refused = answer.status_code == 422 and "remove it" in answer.text
            trial.must(refused, "A", f"{path} {more}: {answer.status_code} {answer.text[:200]}")
    trial.must(target.num_jobs() == before, "A", f"a job was made with {name}")


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_not_the_clients_is_refused(
    faults: Trials, target: Target, name: str
) -> None:
    with faults.trial(ATTACK, FORBIDDEN_FIELD) as trial:
        submit_with(trial, target, name)


def test_a_service_that_takes_any_field_is_noticed(faults: Trials, unguarded: Target) -> None:
    with faults.unguarded(ATTACK, FORBIDDEN_FIELD) as trial:
        submit_with(trial, unguarded, "entrypoint")


# Bodies without measure

PIECE = b'{"name": "'.ljust(1_000_000, b"a")
NUM_PIECES = 100


def send_huge(target: Target, path: str, *, announced: bool) -> int | None:
    """Send 100 MB, as much of it as is taken; return the status, None if there was none."""
    place = urlsplit(target.plane.url)
    assert place.hostname is not None
    length = (
        f"Content-Length: {NUM_PIECES * len(PIECE)}" if announced else "Transfer-Encoding: chunked"
    )
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {target.tokens['admin']}\r\n{length}\r\n\r\n"
    )
    piece = PIECE if announced else f"{len(PIECE):x}\r\n".encode() + PIECE + b"\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        try:
            connection.sendall(head.encode())
            for _ in range(NUM_PIECES):
                connection.sendall(piece)
            connection.sendall(b"0\r\n\r\n" if not announced else b"")
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            answer = connection.recv(4096)
        except (ConnectionResetError, TimeoutError):
            return None
    return int(answer.split()[1]) if answer else None


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
@pytest.mark.parametrize(
    "path", ["/jobs", "/jobs/plan", "/tokens", "/jobs/queued/attempts/1/events"]
)
def test_a_body_without_measure_costs_no_memory(
    faults: Trials, target: Target, path: str, announced: bool
) -> None:
    with faults.trial(ATTACK, TOO_LARGE) as trial:
        with target.in_bounded_memory(trial):
            status = send_huge(target, path, announced=announced)
        # None: it was cut off while it was still sending.
        trial.must(status in {413, None}, "A", f"{path}: {status}")
        target.check_whole(trial)


def test_a_service_that_takes_any_body_is_noticed(faults: Trials, unguarded: Target) -> None:
    with faults.unguarded(ATTACK, TOO_LARGE) as trial, unguarded.in_bounded_memory(trial):
        send_huge(unguarded, "/jobs", announced=True)


# JSON that means to break its reader

MIB = 1 << 20
MAD: Mapping[str, bytes] = {
    "nested objects": b'{"a":' * (MIB // 6),
    "nested lists": b"[" * (MIB - 1),
    "nested, and closed": b"[" * 400_000 + b"]" * 400_000,
    "nested in a field": b'{"labels": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
    "2^63": b'{"seed": 9223372036854775808}',
    "-2^63 - 1": b'{"priority": -9223372036854775809}',
    "an integer of 5,000 digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "an integer of a megabyte": b'{"seed": ' + b"9" * (MIB - 20) + b"}",
    "NaN": b'{"optim": {"learning_rate": NaN}}',
    "Infinity": b'{"optim": {"learning_rate": Infinity}}',
    "-Infinity": b'{"optim": {"weight_decay": -Infinity}}',
    "1e999": b'{"optim": {"learning_rate": 1e999}}',
    "a float for an integer": b'{"optim": {"epochs": 1e18}}',
    "as many keys as may be": b"{" + b",".join(b'"%d":0' % n for n in range(50_000)) + b"}",
    "more than may be": b"{" + b",".join(b'"%d":0' % n for n in range(80_000)) + b"}",
    "half a million items": b'{"evaluation": {"checkpoints": [' + b"0," * 500_000 + b"0]}}",
    "one key, many times": b"{" + b",".join([b'"seed":1'] * 80_000) + b"}",
    "no JSON": b"\x00" * 1000,
    "two documents": b"{}{}",
    "half a surrogate pair": b'{"\\ud800": "\\udfff"}',
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
}
NUMBERS = (
    "/jobs?limit=9223372036854775808",
    "/jobs?limit=NaN",
    "/jobs?cursor=9223372036854775808",
    "/jobs/queued/events?after=9223372036854775808&wait_s=0",
    "/jobs/queued/events?wait_s=NaN",
    "/jobs/queued/events?wait_s=Infinity",
    "/jobs/queued/checkpoints/9223372036854775808/download",
    "/jobs/queued/checkpoints/-1/download",
    "/jobs/queued/logs?attempt=9223372036854775808",
    "/jobs/queued/logs?tail=1e9",
    "/audit?limit=99999999999999999999",
)


def post_mad(trial: Trial, target: Target, what: str) -> None:
    """Post a document as a job, a plan, a token, a quota and a report."""
    paths = ("/jobs", "/jobs/plan", "/jobs/queued/clone", "/tokens", "/jobs/paused/resume")
    with target.in_bounded_memory(trial, 4 * SPARE_BYTES):
        for path in paths:
            answer = target.ask("POST", path, content=MAD[what], headers=JSON)
            refused = answer.status_code in {413, 422} and len(answer.content) < 50_000
            trial.must(refused, "A", f"{what} to {path}: {answer.status_code} {answer.text[:200]}")
        target.ask("PUT", "/quotas/ann", content=MAD[what], headers=JSON)
    target.check_whole(trial)


@pytest.mark.parametrize("what", MAD)
def test_mad_json_is_refused(faults: Trials, target: Target, what: str) -> None:
    with faults.trial(ATTACK, TOO_DEEP) as trial:
        post_mad(trial, target, what)


@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_beyond_all_is_refused(faults: Trials, target: Target, path: str) -> None:
    with faults.trial(ATTACK, TOO_DEEP) as trial:
        answer = target.ask("GET", path, headers={"Accept": "application/json"})
        trial.must(answer.status_code == 422, "A", f"{path}: {answer.text[:200]}")
        target.check_whole(trial)


def test_a_service_that_reads_any_body_is_noticed(faults: Trials, unguarded: Target) -> None:
    with faults.unguarded(ATTACK, TOO_DEEP) as trial:
        post_mad(trial, unguarded, "half a million items")


# Names

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


# Floods


BURST = 10
RATE = {"ALEXNET_REQUESTS_PER_SECOND": "0.1", "ALEXNET_REQUEST_BURST": str(BURST)}
SENDERS: Mapping[str, Callable[[int], Mapping[str, str]]] = {
    "nobody": lambda _: {},
    "who makes up tokens": lambda n: {"Authorization": f"Bearer alexnet_{n:012x}_{'a' * 43}"},
    "who guesses": lambda n: {"Authorization": f"Bearer {n}"},
}


def flood(trial: Trial, target: Target, headers: Callable[[int], Mapping[str, str]]) -> None:
    """Ask five times as often as may be."""
    answers = [target.ask("GET", "/jobs", token=None, headers=headers(n)) for n in range(5 * BURST)]
    refused = [answer for answer in answers if answer.status_code == 429]
    # In the time that this takes some more may be let through.
    trial.must(len(refused) >= 3 * BURST, "A", f"{len(refused)} are refused")
    told = all(answer.headers.get("Retry-After") for answer in refused)
    trial.must(told, "A", "it is not said when to come again")


def test_a_flood_is_refused_and_holds_up_nobody_else(faults: Trials, tmp_path: Path) -> None:
    with attacked(tmp_path / "flooded", **RATE) as flooded:
        # Known from before, as whoever works here is.
        assert flooded.ask("GET", "/jobs", token="submitter").is_success
        for who, headers in SENDERS.items():
            with faults.trial(ATTACK, FLOOD) as trial:
                flood(trial, flooded, headers)
                works = flooded.ask("GET", "/jobs", token="submitter").status_code
                trial.must(works == 200, "A", f"{who} holds up others: {works}")
        with faults.trial(ATTACK, FLOOD) as trial:
            own = {"Authorization": f"Bearer {flooded.tokens['viewer']}"}
            # New, of an address that has flooded: it waits as if it were made up.
            flood(trial, flooded, lambda _: own)


def test_a_service_without_limits_is_noticed(faults: Trials, unguarded: Target) -> None:
    with faults.unguarded(ATTACK, FLOOD) as trial:
        flood(trial, unguarded, SENDERS["nobody"])


# Idempotency keys


def send_twice(trial: Trial, target: Target, key: str) -> None:
    """Send a key with a body, and with another."""
    headers = {"Idempotency-Key": key}
    first = target.ask("POST", "/jobs", json=target.body, headers=headers)
    assert first.status_code == 201, first.text
    before = target.num_jobs()
    again = target.ask("POST", "/jobs", json=target.body, headers=headers)
    trial.must(again.json().get("id") == first.json()["id"], "A", f"another job: {again.text}")
    other = target.ask("POST", "/jobs", json=target.body | {"seed": 8}, headers=headers)
    refused = other.status_code == 422 and json.loads(other.text)["type"].endswith("-reused")
    trial.must(refused, "A", f"another body: {other.status_code} {other.text[:200]}")
    trial.must(target.num_jobs() == before, "A", "a second job was made")
    # Another owner's key is another.
    theirs = target.ask("POST", "/jobs", token="submitter", json=target.body, headers=headers)
    trial.must(theirs.status_code == 201, "A", f"another owner: {theirs.text[:200]}")


@pytest.mark.parametrize("key", ["a", '"quoted"', "x" * 128, "';DROP_TABLE_jobs;--"])
def test_a_key_with_another_body_makes_nothing(faults: Trials, target: Target, key: str) -> None:
    with faults.trial(ATTACK, KEYS) as trial:
        send_twice(trial, target, key)


def test_a_service_that_compares_no_bodies_is_noticed(faults: Trials, unguarded: Target) -> None:
    with faults.unguarded(ATTACK, KEYS) as trial:
        send_twice(trial, unguarded, "a")
