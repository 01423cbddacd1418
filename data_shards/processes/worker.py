"""The child's side of a worker process: `python -m data_shards.processes.worker FD`.

It serves one handler over a private pipe until the pipe closes, which also happens, whatever the
way, when the parent dies. Only the standard library is imported before the handler is known, so
that a worker starts in a few hundredths of a second.
"""

import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from data_shards.errors import DataError, WorkerFailedError

# A handler answers one message with any number of messages.
Handler = Callable[[Any], Iterable[Any]]


def serve(connection: Connection) -> None:
    """Receive a function that opens the handler, then messages for it, until the pipe closes.

    An exception is sent as the last answer; it ends the worker.
    """
    try:
        handle: Handler = connection.recv()()
        while True:
            for answer in handle(connection.recv()):
                connection.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except DataError as error:
        connection.send(error)
    except Exception:  # noqa: BLE001 - the outermost frame of the process: the parent raises it
        connection.send(WorkerFailedError(traceback.format_exc()))


if __name__ == "__main__":
    # Ctrl-C reaches the whole process group; the parent decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError, ConnectionResetError):
        serve(Connection(int(sys.argv[1])))
