"""How many may be connected, and how long they may keep the service waiting for a request.

uvicorn bounds neither: its `timeout_keep_alive` begins with an answer and ends with the next byte,
and its `limit_concurrency` answers 503 and lets connections that send nothing be.
"""

import asyncio
import logging
import socket
from dataclasses import dataclass
from enum import Enum, auto

import h11
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

logger = logging.getLogger(__name__)

# Connections that the kernel keeps until they are accepted.
BACKLOG = 2048
# Of those, so many are accepted before any is looked at: they have files already.
_ACCEPTED_AT_ONCE = 64
# Assumed: those accepted at once, the store's and Ray's connections, downloads and logs.
_OTHER_FILES = 256
# A server ticks ten times a second.
_TICKS_PER_LOOK = 10
_TICKS_PER_MINUTE = 600
# So that a flood of connections has not all of them looked through for each.
_PART_LET_GO = 16


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What connections are held to. The times are exact to a second, never less."""

    max_open: int
    """At most so many; beyond them those go that have been waited for the longest."""
    head_s: float = 10.0
    """A request line and headers come whole within it, of a connection's first request too."""
    body_s: float = 60.0
    """A body comes whole within it: at 17 KB/s the largest."""
    unread_s: float = 60.0
    """An answer of which nothing more is read for so long may be cut to let others in."""


def max_open(asked: int, num_files: int) -> int:
    """Return how many connections may be open in a process that may have `num_files`."""
    return max(min(asked, max(num_files - _OTHER_FILES, num_files // 2)), 1)


class Awaited(Enum):
    """What only the other side can do."""

    HEAD = auto()
    """Send a request line and headers."""
    BODY = auto()
    """Send a body."""
    READING = auto()
    """Read what it is sent."""


class Connection(H11Protocol):
    """One connection. It is looked at now and then, so that requests cost no more."""

    server_state: "Connections"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.since_s = self.loop.time()
        """When it was first seen to wait for what it waits for."""
        self._seen: tuple[Awaited | None, RequestResponseCycle | None, int] = Awaited.HEAD, None, 0
        self.server_state.make_room(self)

    def look(self, now_s: float) -> Awaited | None:
        """Note since when it waits, and return what for; None: the service has to do."""
        # Of another request, or once more was read, it waits anew.
        seen = self._awaited(), self.cycle, self.transport.get_write_buffer_size()
        if seen != self._seen:
            self._seen, self.since_s = seen, now_s
        return seen[0]

    def _awaited(self) -> Awaited | None:
        # An answer is complete for uvicorn once it is handed over, not once it is sent.
        if self.transport.get_write_buffer_size():
            return Awaited.READING
        is_answered = self.cycle is None or self.cycle.response_complete
        if self.conn.their_state is h11.SEND_BODY:
            is_under_way = self.cycle.response_started and not is_answered
            # While a body is not read, it cannot come.
            return None if is_under_way or self.flow.read_paused else Awaited.BODY
        return Awaited.HEAD if is_answered else None


class Connections(ServerState):
    """Those that are open."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        self.bounds = bounds
        self.num_let_go = 0
        """To make room, since it was last told."""

    def end_late_ones(self, now_s: float) -> None:
        """End those that have kept the service waiting for too long."""
        for one in self._open():
            match one.look(now_s):
                case Awaited.HEAD if now_s - one.since_s > self.bounds.head_s:
                    one.transport.close()
                case Awaited.BODY if now_s - one.since_s > self.bounds.body_s:
                    one.transport.abort()

    def make_room(self, newest: Connection) -> None:
        """End some that are waited for where there are too many; where there are none, the newest.

        What is answered is not cut, unless nobody else is waited for and it was long not read.
        """
        if len(self.connections) <= self.bounds.max_open:
            return
        now_s = newest.since_s
        awaited: list[Connection] = []
        unread: list[Connection] = []
        for one in self._open():
            match one.look(now_s):
                case Awaited.HEAD | Awaited.BODY if one is not newest:
                    awaited.append(one)
                case Awaited.READING if now_s - one.since_s > self.bounds.unread_s:
                    unread.append(one)
        let_go = sorted(awaited or unread, key=lambda one: one.since_s)
        for one in let_go[: max(len(let_go) // _PART_LET_GO, 1)] or [newest]:
            one.transport.abort()
            self.connections.discard(one)
            self.num_let_go += 1

    def tell(self) -> None:
        """Log how many had to go."""
        if self.num_let_go:
            logger.warning(
                "%d connections were ended that waited with their requests: %d are open at most "
                "(ALEXNET_MAX_CONNECTIONS, and fewer where `ulimit -n` is low)",
                self.num_let_go,
                self.bounds.max_open,
            )
        self.num_let_go = 0

    def _open(self) -> list[Connection]:
        return [one for one in self.connections if isinstance(one, Connection)]


class BoundedServer(Server):
    """A server that holds those who connect to bounds."""

    def __init__(self, config: Config, bounds: Bounds) -> None:
        config.http = Connection
        config.backlog = _ACCEPTED_AT_ONCE
        super().__init__(config)
        self.server_state: Connections = Connections(bounds)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        for listener in sockets or ():
            # asyncio accepts as many at once as it has the kernel keep.
            listener.listen(BACKLOG)

    async def on_tick(self, counter: int) -> bool:
        """Look at the connections now and then; say whether to end."""
        if counter % _TICKS_PER_LOOK == 0:
            self.server_state.end_late_ones(asyncio.get_running_loop().time())
        if counter % _TICKS_PER_MINUTE == 0:
            self.server_state.tell()
        return await super().on_tick(counter)
