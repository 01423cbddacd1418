"""Run a control plane until it is told to stop."""

import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import uvicorn
from rich.console import Console
from sqlalchemy.exc import DatabaseError

from service.application import create_application
from service.cluster.local_ray import LocalRay
from service.connections import BACKLOG, BoundedServer, Bounds, max_open
from service.control_plane import ControlPlane
from service.settings import Settings, SettingsError
from service.store.tokens import has_tokens

logger = logging.getLogger(__name__)

# Streams end by themselves within a moment; a client that does not read is cut off.
GRACEFUL_SHUTDOWN_S = 5
# Assumed: a client that lives reads something within it, and tries for longer (client.outage).
TAKES_NOTHING_S = 30
# So often the kernel asks whether a client that is silent is still there.
ASKED_EVERY_S = 15


def serve(settings: Settings, console: Console, *, until_stdin_closes: bool) -> None:
    """Serve until SIGINT or SIGTERM; a local Ray is stopped before this returns.

    Raises SettingsError where it cannot listen.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # Of the requests to Ray, several a second, only the failed ones are worth a line.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with listen(settings) as listener:
        plane = ControlPlane(settings, token=_ray_token())
        _check_access(plane)
        server = _Server(plane)
        for number in (signal.SIGINT, signal.SIGTERM):
            # Replaced by the server's own while it runs; a second Ctrl-C while Ray is being
            # stopped must not leave Ray behind.
            signal.signal(number, _ignore)
        try:
            with _naming_the_store(settings):
                plane.start()
                _warn_where_open(plane)
            where = f"control plane: [bold]{settings.advertised_url}[/]"
            console.print(f"{where}, page at /ui/, docs at /docs")
            if until_stdin_closes:
                watcher = threading.Thread(
                    target=_exit_at_end_of_stdin, args=(server,), daemon=True
                )
                watcher.start()
            _keep_what_is_there()
            server.run(sockets=[listener])
        finally:
            # What it prints to may be a full disk, and Ray is to be stopped all the same.
            with suppress(OSError):
                console.print("stopping")
            plane.stop()


@contextmanager
def _naming_the_store(settings: Settings) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise SettingsError(
            f"ALEXNET_STORE_URL: {settings.store_name} cannot be used as the store "
            f"({error.orig}); name another, or put back a copy"
        ) from error


def _check_access(plane: ControlPlane) -> None:
    """Raise SettingsError where nobody could be let in, or everybody would be."""
    settings = plane.settings
    if settings.may_be_open:
        return
    with _naming_the_store(settings):
        if plane.store.read(has_tokens):
            return
    plane.stop()
    raise SettingsError(
        f"ALEXNET_HOST: {settings.host} can be reached from other machines, through "
        "ALEXNET_TRUSTED_PROXIES, or by other names (ALEXNET_ALLOWED_HOSTS, "
        "ALEXNET_ADVERTISED_URL), and there is no token to tell who may do what; make the first "
        "with `alexnet tokens create --owner NAME --role admin`, listen on 127.0.0.1 alone, or "
        "set ALEXNET_TRUSTED_NETWORK=true where only trusted machines can connect"
    )


def _keep_what_is_there() -> None:
    """Have no later search for garbage go through what lives until the end.

    One that did, in a thousand pages of jobs, held everything up for .15 s (measured).
    """
    gc.collect()
    gc.freeze()


def _warn_where_open(plane: ControlPlane) -> None:
    if plane.settings.may_be_open and not plane.store.read(has_tokens):
        logger.warning(
            "there is no token: whoever connects is an admin, through a proxy too; before there is "
            "one, make a token with `alexnet tokens create`"
        )


class _Server(BoundedServer):
    """Tells the control plane of the signal at once, so that open streams end."""

    def __init__(self, plane: ControlPlane) -> None:
        super().__init__(
            uvicorn.Config(
                create_application(plane),
                log_config=None,
                access_log=False,
                lifespan="off",
                # The application believes the proxies of the settings, and no others.
                proxy_headers=False,
                timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
            ),
            Bounds(max_open=max_open(plane.settings.max_connections, _num_files())),
        )
        self._plane = plane

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        self._plane.begin_stop()
        super().handle_exit(sig, frame)


def _num_files() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _ignore(_number: int, _frame: FrameType | None) -> None:
    return


def _exit_at_end_of_stdin(server: _Server) -> None:
    # Not through sys.stdin, whose lock a blocked reader would hold while the interpreter ends.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    server.handle_exit(signal.SIGTERM, None)


def listen(settings: Settings) -> socket.socket:
    """Listen where the settings say. Raises SettingsError where that cannot be.

    Whoever takes nothing of what it is sent for TAKES_NOTHING_S is let go by the kernel, and so
    is whoever is gone without a word: neither keeps a slot, a file or memory.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server(
            (settings.host, settings.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {settings.host} port {settings.port}: {_reason(error)}; "
            "stop what uses it, or choose another with --port"
        ) from error
    # Connections have these of the socket that they come by.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # An answer's head and body are sent apart: otherwise the body of each waits, for 40 ms, until
    # the client's kernel acknowledges the head. asyncio sets it for its own listeners alone.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ASKED_EVERY_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASKED_EVERY_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TAKES_NOTHING_S * 1000)
    return listener


def _reason(error: OSError) -> str:
    # The text that create_server makes repeats the address.
    return os.strerror(error.errno) if error.errno else str(error)


def _ray_token() -> str | None:
    """Return the token of a Ray cluster that is not ours, where Ray itself would look for it."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    return path.read_text().strip() if path.is_file() else None


def stop_leftover_ray(settings: Settings) -> bool:
    """Stop the local Ray of a control plane that is gone; say whether there was one.

    Raises SettingsError while a control plane runs there.
    """
    if not settings.state_dir.is_dir():
        return False
    ray = LocalRay(settings.state_dir, url=settings.advertised_url, num_cpus=None, num_gpus=None)
    if not ray.ownership.acquire():
        raise SettingsError(
            f"a control plane runs: {ray.ownership.holder()}; stop it with Ctrl-C where it runs, "
            "and it stops its Ray"
        )
    try:
        return ray.stop()
    finally:
        ray.ownership.release()
