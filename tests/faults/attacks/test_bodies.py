"""Bodies without measure, and JSON and numbers that mean to break whoever reads them."""

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from tests.faults.attacks.targets import ATTACK, SPARE_BYTES, Target
from tests.faults.trials import Trial, Trials

JSON = {"Content-Type": "application/json"}
TOO_LARGE = "100 MB of JSON"
TOO_DEEP = "deep nesting, 2^63, NaN"


# Bodies without measure

PIECE = b'{"name": "'.ljust(1_000_000, b"a")
NUM_PIECES = 100


def send_huge(target: Target, path: str, *, announced: bool) -> int | None:
    """Send 100 MB, as much of it as is taken; return the status, None if there was none."""
    place = urlsplit(target.plane.url)
    assert place.hostname is not None
    # Of a report with another's token nothing is read at all.
    token = "attempt" if path.endswith("/events") else "admin"
    length = (
        f"Content-Length: {NUM_PIECES * len(PIECE)}" if announced else "Transfer-Encoding: chunked"
    )
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {target.tokens[token]}\r\n{length}\r\n\r\n"
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
    "path", ["/jobs", "/jobs/plan", "/tokens", "/jobs/paused/attempts/1/events"]
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
