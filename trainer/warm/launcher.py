"""Stands where Python would: `LAUNCHER -m trainer ...` runs that in a fork of the warm process.

Started as `python -I -S launcher.py ARGUMENTS`, so that it starts quickly: standard library only.
It hands over arguments, environment, files and limits, lives as long as the fork does, passes
signals on, and ends as the fork ended. Where no fork server listens at ALEXNET_FORK_SERVER, it
becomes an ordinary Python.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Iterator

SOCKET_VARIABLE = "ALEXNET_FORK_SERVER"
# A server that is there answers at once; one that was stopped is not waited for.
PATIENCE_S = 10.0
_LIMITS = [value for name, value in vars(resource).items() if name.startswith("RLIMIT_")]
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main() -> None:
    """Ask for a fork, or become Python."""
    arguments = sys.argv[1:]
    server = _connection()
    # What is sent to this process before there is a fork to pass it on to waits.
    with _blocked_signals():
        pid = None if server is None else _forked(server, arguments)
        if server is None or pid is None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
            os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  # as asked for
        _pass_signals_on(pid)
    server.settimeout(None)
    end = _receive(server)
    _end_as(-signal.SIGKILL if end is None else end)


def _forked(server: socket.socket, arguments: list[str]) -> int | None:
    try:
        _send(server, _request(arguments))
    except OSError:
        return None
    return _receive(server)


def _connection() -> socket.socket | None:
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        return None
    server = socket.socket(socket.AF_UNIX)
    server.settimeout(PATIENCE_S)
    try:
        server.connect(path)
    except OSError:
        server.close()
        return None
    return server


def _request(arguments: list[str]) -> bytes:
    umask = os.umask(0)
    os.umask(umask)
    return json.dumps(
        {
            "arguments": arguments,
            "environment": dict(os.environ),
            "folder": os.getcwd(),  # noqa: PTH109  # pathlib takes as long to import as all the rest
            "umask": umask,
            "priority": os.getpriority(os.PRIO_PROCESS, 0),
            "cpus": sorted(os.sched_getaffinity(0)),
            "oom_score_adj": _oom_score_adj(),
            "limits": {str(which): resource.getrlimit(which) for which in set(_LIMITS)},
        }
    ).encode()


def _oom_score_adj() -> str:
    with open("/proc/self/oom_score_adj") as file:  # noqa: PTH123  # as above
        return file.read().strip()


def _send(server: socket.socket, request: bytes) -> None:
    """Send the length with the three standard files, then the request."""
    socket.send_fds(server, [struct.pack("!Q", len(request))], [0, 1, 2])
    server.sendall(request)


def _receive(server: socket.socket) -> int | None:
    """Return the number that is sent; None if the other end is gone or silent."""
    received = b""
    with contextlib.suppress(OSError):
        while len(received) < 8:
            some = server.recv(8 - len(received))
            if not some:
                return None
            received += some
    return int(struct.unpack("!q", received)[0]) if len(received) == 8 else None


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pass_signals_on(pid: int) -> None:
    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)


def _end_as(code: int) -> None:
    """Exit with the fork's code, or die of the signal that it died of."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        code = 128 - code
    os._exit(code)


if __name__ == "__main__":
    main()
