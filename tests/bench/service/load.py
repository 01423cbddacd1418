"""Requests at a fixed rate, in a process of their own: python -m tests.bench.service.load < PLAN.

A request is late from when it was due, not from when a thread was free to send it: a server that
stalls is charged for all that it kept waiting (no coordinated omission). A report that is told to
come again does, as those of attempts do, and is late until it is taken.
"""

import http.client
import json
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# More than ever wait at once while the server keeps up.
_CONNECTIONS = 32
_NUM_TRIES = 10


@dataclass(frozen=True)
class Request:
    """What to send."""

    method: str
    path: str
    headers: dict[str, str]
    body: str | None = None


def send_all(url: str, requests: list[Request], per_second: float) -> list[tuple[float, int]]:
    """Send requests, evenly spaced; return seconds late and status of each, in their order."""
    host = urlsplit(url).netloc
    answers: list[tuple[float, int]] = [(0.0, 0)] * len(requests)
    numbers = iter(range(len(requests)))
    take = threading.Lock()
    started = time.monotonic() + 0.2

    def work() -> None:
        connection = http.client.HTTPConnection(host, timeout=30)
        while True:
            with take:
                number = next(numbers, None)
            if number is None:
                connection.close()
                return
            due = started + number / per_second
            time.sleep(max(0.0, due - time.monotonic()))
            status = _send(connection, requests[number])
            answers[number] = time.monotonic() - due, status

    threads = [threading.Thread(target=work) for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _send(connection: http.client.HTTPConnection, one: Request) -> int:
    status = 0
    for _ in range(1 if one.method == "GET" else _NUM_TRIES):
        connection.request(one.method, one.path, one.body, one.headers)
        answer = connection.getresponse()
        answer.read()
        status = answer.status
        if status != 503:
            break
        time.sleep(float(answer.headers.get("Retry-After", 1)))
    return status


def main() -> None:
    """Read a plan as JSON, send it, write the answers as JSON."""
    plan: dict[str, Any] = json.load(sys.stdin)
    requests = [Request(**each) for each in plan["requests"]]
    json.dump(send_all(plan["url"], requests, plan["per_second"]), sys.stdout)


if __name__ == "__main__":
    main()
