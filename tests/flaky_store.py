"""A proxy before an object store that delays, refuses and cuts answers short, by a seed."""

import hashlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.object_store import ObjectStore

_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
# Fewer in a row than a client tries, so that what goes wrong passes.
_MAX_FAULTS_IN_A_ROW = 3


def _denial(code: str | None) -> bytes:
    return f"<Error><Code>{code}</Code><Message>Who are you?</Message></Error>".encode()


class Faults:
    """What happens to each request: a function of the seed, the request and how often it came."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.is_down = False
        self.drips = False
        """Answers come byte by byte, and never end while anybody waits."""
        self.redirect_to: str | None = None
        """An address that every request is sent to instead."""
        self.denied_by: str | None = None
        """What every request is refused with: a code of S3's."""
        self.answers_all = False
        """Nothing goes wrong by itself."""
        self.asked: list[str] = []
        """What was asked for: METHOD PATH RANGE."""
        self.counted: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._in_a_row: Counter[str] = Counter()

    def next(self, request: str) -> str:
        """Return what to do: answer, late, refuse, deny, cut, drip or redirect."""
        with self._lock:
            self.asked.append(request)
            if self.is_down:
                fault = "refuse"
            elif self.denied_by is not None:
                fault = "deny"
            elif self.redirect_to is not None:
                fault = "redirect"
            else:
                fault = "drip" if self.drips else self._drawn(request)
            self.counted[fault] += 1
            return fault

    def _drawn(self, request: str) -> str:
        if self.answers_all:
            return "answer"
        self._asked[request] += 1
        draw = hashlib.sha256(f"{self.seed} {self._asked[request]} {request}".encode()).digest()[0]
        fault = ("refuse", "refuse", "cut", "late", "late", "answer", "answer", "answer")[draw % 8]
        if fault in {"refuse", "cut"}:
            self._in_a_row[request] += 1
            if self._in_a_row[request] <= _MAX_FAULTS_IN_A_ROW:
                return fault
            fault = "answer"
        self._in_a_row[request] = 0
        return fault


@contextmanager
def flaky(store: ObjectStore, seed: int) -> Iterator[tuple[ObjectStore, Faults]]:
    """Start a proxy before a store; both ends on loopback. It ends with the context."""
    faults = Faults(seed)
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size)
            fault = faults.next(f"{self.command} {self.path} {self.headers.get('Range')}")
            if fault == "refuse":
                self._answer(503, {"Content-Type": "application/xml"}, _SLOW_DOWN)
                return
            if fault == "deny":
                self._answer(403, {"Content-Type": "application/xml"}, _denial(faults.denied_by))
                return
            if fault == "redirect":
                self._answer(307, {"Location": f"{faults.redirect_to}{self.path}"}, b"")
                return
            if fault == "late":
                time.sleep(0.2)
            upstream = http.client.HTTPConnection(store.host, store.port, timeout=10)
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            self._answer(answer.status, dict(answer.getheaders()), content, fault)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

        def _answer(
            self, status: int, headers: dict[str, str], content: bytes, fault: str = "answer"
        ) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                    self.send_header(name, value)
            is_head = self.command == "HEAD"
            known = {name.lower(): value for name, value in headers.items()}
            length = known.get("content-length") if is_head else None
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            if fault == "drip":
                self._drip(b"" if is_head else content)
            elif not is_head:
                self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
            # Half an answer, and the connection goes.
            self.close_connection = self.close_connection or fault in {"cut", "drip"}

        def _drip(self, content: bytes) -> None:
            # Each byte is a packet: no timeout between two of them ever ends this.
            for byte in content:
                self.wfile.write(bytes([byte]))
                if stopped.wait(0.05):
                    return

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients may go while they are answered."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield ObjectStore("127.0.0.1", server.server_address[1]), faults
        finally:
            stopped.set()
            server.shutdown()
            thread.join()
