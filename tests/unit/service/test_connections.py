"""Over real sockets: who keeps a server waiting, and how many may be connected."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from service.connections import BoundedServer, Bounds, max_open
from tests.unit.service.conftest import wait_until
from tests.waiting import ANSWERED_WITHIN_S

ASK = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ASK_LONG = b"GET /long HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BEGUN = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
REFUSED = BEGUN.replace(b"POST / ", b"POST /refused ")
REFUSED_LONG = BEGUN.replace(b"POST / ", b"POST /refused/long ")
ASK_LARGE = ASK.replace(b"GET / ", b"GET /large ")
# More than the kernel takes of what is not read.
LARGE = b"." * 16_000_000


class App:
    """Reads bodies; what it answers to /long ends when it is told to, to /large it is LARGE.

    Bodies to /refused it does not read.
    """

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.statuses: list[str] = []
        self.num_answered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        is_refused = scope["path"].startswith("/refused")
        message: Message = {"type": "http.request", "more_body": not is_refused}
        while message["type"] == "http.request" and message["more_body"]:
            message = await receive()
        self.statuses.append(message["type"])
        if message["type"] == "http.disconnect":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while scope["path"].endswith("/long") and not self.is_over.is_set():
            await send({"type": "http.response.body", "body": b".", "more_body": True})
            await asyncio.sleep(0.02)
        body = LARGE if scope["path"] == "/large" else b"end"
        await send({"type": "http.response.body", "body": body})
        self.num_answered += 1


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server that runs."""

    app: App
    server: BoundedServer
    address: tuple[str, int]

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def num_open(self) -> int:
        return len(self.server.server_state.connections)

    @contextmanager
    def connected(self, sent: bytes = b"") -> Iterator[socket.socket]:
        with socket.create_connection(self.address, timeout=20) as connection:
            connection.sendall(sent)
            yield connection


@contextmanager
def served(bounds: Bounds) -> Iterator[Served]:
    app = App()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=2)
        server = BoundedServer(config, bounds)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield Served(app=app, server=server, address=listener.getsockname())
        finally:
            app.is_over.set()
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def strict() -> Iterator[Served]:
    with served(Bounds(max_open=100, head_s=0.3, body_s=0.3)) as one:
        yield one


def is_ended(connection: socket.socket) -> bool:
    """Whether the other side is gone; reads what comes before."""
    connection.setblocking(False)
    try:
        return not connection.recv(1 << 16)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def ask_until_ended(client: httpx.Client, connection: socket.socket) -> None:
    wait_until(lambda: client.get("/").text == "end" and is_ended(connection))


def test_who_keeps_a_server_waiting_is_let_go(strict: Served) -> None:
    half = b"GET / HTTP/1.1\r\nHost: "
    # What is sent at once, and what comes after it drop by drop.
    late = {
        "nothing": (b"", b""),
        "half a head": (half, b"a"),
        "half a second head": (ASK + half, b"a"),
        "no body": (BEGUN, b""),
        "drops of a body": (BEGUN, b"a"),
        "drops of what was refused": (REFUSED, b"a"),
    }
    with ExitStack() as stack:
        kept = {
            name: (stack.enter_context(strict.connected(sent)), drop)
            for name, (sent, drop) in late.items()
        }

        def names() -> set[str]:
            for name, (connection, drop) in tuple(kept.items()):
                # Whether the other side is gone is told by reading.
                with contextlib.suppress(ConnectionError):
                    connection.send(drop)
                if is_ended(connection):
                    del kept[name]
            return {*kept}

        wait_until(lambda: not names())


def test_a_request_whose_body_does_not_come_is_over_for_the_application(strict: Served) -> None:
    before = strict.app.statuses.count("http.disconnect")
    with strict.connected(BEGUN):
        wait_until(lambda: strict.app.statuses.count("http.disconnect") > before)


@pytest.mark.parametrize("asked", [ASK_LONG, REFUSED_LONG])
def test_neither_a_long_answer_nor_one_of_many_requests_is_cut(
    strict: Served, asked: bytes
) -> None:
    strict.app.is_over.clear()
    with (
        strict.connected(asked) as long,
        httpx.Client(base_url=strict.url, timeout=ANSWERED_WITHIN_S) as often,
    ):
        assert long.recv(12) == b"HTTP/1.1 200"
        peer = often.get("/").extensions["network_stream"].get_extra_info("client_addr")
        # Twice as long as a head may take.
        for _ in range(2):
            with strict.connected() as idle:
                ask_until_ended(often, idle)
        answer = often.get("/")
        assert answer.extensions["network_stream"].get_extra_info("client_addr") == peer
        strict.app.is_over.set()
        long.setblocking(True)
        told = b""
        while not told.endswith(b"end\r\n0\r\n\r\n"):
            told += long.recv(1 << 16) or pytest.fail("cut")


def test_where_too_many_are_connected_the_longest_awaited_makes_room() -> None:
    with served(Bounds(max_open=4)) as one, ExitStack() as stack:
        long = stack.enter_context(one.connected(ASK_LONG))
        assert long.recv(12) == b"HTTP/1.1 200"
        idle = []
        for sent in (b"GET", b"", b"GET /"):
            idle.append(stack.enter_context(one.connected(sent)))
            wait_until(lambda: one.num_open == 1 + len(idle))
        assert httpx.get(one.url, timeout=ANSWERED_WITHIN_S).text == "end"
        wait_until(lambda: is_ended(idle[0]))
        wait_until(lambda: one.num_open == 3)
        stack.enter_context(one.connected())
        wait_until(lambda: one.num_open == 4)
        assert httpx.get(one.url, timeout=ANSWERED_WITHIN_S).text == "end"
        wait_until(lambda: is_ended(idle[1]))
        assert not is_ended(idle[2])
        assert not is_ended(long)


def test_who_is_awaited_with_a_body_makes_room_too() -> None:
    with (
        served(Bounds(max_open=1)) as one,
        one.connected(BEGUN) as late,
    ):
        wait_until(lambda: one.num_open == 1)
        assert httpx.get(one.url, timeout=ANSWERED_WITHIN_S).text == "end"
        wait_until(lambda: is_ended(late))


def test_an_answer_that_is_being_sent_makes_no_room() -> None:
    with served(Bounds(max_open=2)) as one, one.connected(ASK_LARGE) as large, ExitStack() as stack:
        wait_until(lambda: one.app.num_answered == 1)
        for _ in range(5):
            stack.enter_context(one.connected())
        wait_until(lambda: one.server.server_state.num_let_go == 4)
        told = bytearray()
        while not told.endswith(b".\r\n0\r\n\r\n"):
            told += large.recv(1 << 20) or pytest.fail(f"cut after {len(told)} bytes")
    assert told.count(LARGE) == 1


def test_an_answer_that_is_long_not_read_makes_room_where_nobody_else_is_awaited() -> None:
    with served(Bounds(max_open=1, unread_s=0.0)) as one, one.connected(ASK_LARGE):
        wait_until(lambda: one.app.num_answered == 1)

        def is_let_in() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(one.url, timeout=ANSWERED_WITHIN_S).text == "end"
            return False

        wait_until(is_let_in)


def test_while_all_are_answered_no_more_come_in() -> None:
    with served(Bounds(max_open=2)) as one:
        with one.connected(ASK_LONG) as first, one.connected(REFUSED_LONG) as second:
            for long in (first, second):
                assert long.recv(12) == b"HTTP/1.1 200"
            with pytest.raises(httpx.TransportError):
                httpx.get(one.url, timeout=ANSWERED_WITHIN_S)
            assert one.server.server_state.num_let_go == 1
            assert not is_ended(first)
            assert not is_ended(second)
        wait_until(lambda: one.num_open == 0)
        assert httpx.get(one.url, timeout=ANSWERED_WITHIN_S).text == "end"


@given(asked=st.integers(1, 10**6), num_files=st.integers(1, 10**6))
def test_connections_leave_files_for_all_else(asked: int, num_files: int) -> None:
    allowed = max_open(asked, num_files)
    assert 1 <= allowed <= asked
    assert num_files - allowed >= min(256, num_files // 2)
