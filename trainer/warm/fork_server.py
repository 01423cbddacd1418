"""The warm process: imports what attempts import, once, and forks whoever asks by its launcher.

    python -m trainer.warm.fork_server SOCKET [MODULE ...]

It is started, and started again when it dies, by its keeper (trainer.warm.keeper).

Ray itself is not imported: its library reads RAY_JOB_ID and more when it is loaded, and those
differ from fork to fork. A fork is a Python as any other, but for the time it takes to start
(docs/LOG.md) and the pages that all share.

Between server and fork stands a process that waits: it tells the launcher how the fork ended, and
kills the fork when its launcher is gone. The server may end; what it forked goes on.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# What Ray's processes of a job import besides: listed by a process that imports Ray.
_LIST_MODULES = """
import sys
import ray._private.workers.default_worker
import ray.train.torch
import ray.train.v2._internal.execution.controller.controller
import ray.util.state
import trainer.running.ray_train
print("\\n".join(name for name in sys.modules if name.partition(".")[0] not in {"ray", "__main__"}))
"""
_IMPORTS_RAY = {"trainer.running.ray_train"}
_PR_SET_PDEATHSIG = 1
# Where memory runs out Ray has its workers killed first; it says so of its own child, the launcher.
_RAY_WORKER = "default_worker.py"
_KILLED_FIRST = "1000"
_MAX_REQUEST_BYTES = 64 << 20
_STARTER_VARIABLE = "ALEXNET_WARM_STARTER"


def main() -> None:
    """Import, listen, fork; ends with SIGTERM, and with the process that started it."""
    die_with_starter()
    path = Path(sys.argv[1])
    _import_all(sys.argv[2:] or _modules_of_attempts())
    listener = socket.socket(socket.AF_UNIX)
    # Under another name first: one that is there is one that listens.
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)
    listener.bind(str(aside))
    aside.chmod(0o600)
    listener.listen(128)
    aside.replace(path)
    # Pages that the collector never touches stay shared.
    gc.collect()
    gc.freeze()
    serve(listener)


def _modules_of_attempts() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _LIST_MODULES], capture_output=True, text=True, check=True
    )
    return [name for name in done.stdout.split() if name not in _IMPORTS_RAY]


def _import_all(names: Sequence[str]) -> None:
    for name in names:
        # One that cannot be imported alone is imported by those that can.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    assert "ray" not in sys.modules, "Ray must be loaded after the fork"


def serve(listener: socket.socket) -> None:
    """Answer launchers until the process is ended."""
    # Nobody waits for those that wait for forks.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        launcher, _ = listener.accept()
        if os.fork() == 0:
            # Never back into the loop, whatever happens.
            try:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(launcher)
            except BaseException:  # noqa: BLE001  # of one launcher alone, whatever it is
                traceback.print_exc()
            finally:
                os._exit(1)
        launcher.close()


def _answer(launcher: socket.socket) -> None:
    request, files = _receive(launcher)
    waiting = os.getpid()
    pid = os.fork()
    if pid == 0:
        launcher.close()
        die_with(waiting, signal.SIGKILL)
        # A group of its own, with what it starts: the server's is that of Ray itself. No session
        # of its own: by that a local Ray's are found where titles hide their environment.
        os.setpgid(0, 0)
        os._exit(_run(request, files))
    for file in files:
        os.close(file)
    launcher.sendall(struct.pack("!q", pid))
    _wait(pid, launcher)


def _receive(launcher: socket.socket) -> tuple[Mapping[str, Any], Sequence[int]]:
    head, files, _, _ = socket.recv_fds(launcher, 8, 3)
    (length,) = struct.unpack("!Q", head)
    if length > _MAX_REQUEST_BYTES or len(files) != 3:
        raise ValueError(f"no request of a launcher: {length} bytes, {len(files)} files")
    received = bytearray()
    while len(received) < length:
        some = launcher.recv(min(length - len(received), 1 << 20))
        if not some:
            raise ValueError("a launcher went away before it had said what to run")
        received += some
    return json.loads(received), files


def _wait(pid: int, launcher: socket.socket) -> None:
    """Wait for a fork, tell its launcher how it ended; kill it if that goes away first."""
    fork = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(fork, select.POLLIN)
    # A launcher sends nothing more: whatever is to be read is its end.
    poll.register(launcher, select.POLLIN | select.POLLHUP)
    ready = {descriptor for descriptor, _ in poll.poll()}
    if fork not in ready:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        signal.pidfd_send_signal(fork, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        launcher.sendall(struct.pack("!q", os.waitstatus_to_exitcode(status)))
    os._exit(0)


def told_starter() -> dict[str, str]:
    """Return the environment of a process that is to call `die_with_starter`."""
    return {**os.environ, _STARTER_VARIABLE: str(os.getpid())}


def die_with_starter() -> None:
    """End by SIGTERM with the process that started this one.

    That tells who it is: one that died while this began would have left it for good.
    """
    die_with(int(os.environ.pop(_STARTER_VARIABLE, os.getppid())), signal.SIGTERM)


def die_with(parent: int, number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def _run(request: Mapping[str, Any], files: Sequence[int]) -> int:
    """Become the Python that was asked for; return its exit code."""
    for standard, file in enumerate(files):
        os.dup2(file, standard)
    for file in files:
        if file > 2:
            os.close(file)
    _settle(request)
    try:
        _run_main(list(request["arguments"]))
    except SystemExit as error:
        code = _exit_code(error.code)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = -signal.SIGINT
    except BaseException:  # noqa: BLE001  # as the interpreter tells of what nobody caught
        traceback.print_exc()
        code = 1
    else:
        code = 0
    _finish()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _settle(request: Mapping[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    os.umask(request["umask"])
    for which, limits in request["limits"].items():
        # The hard ones of another process may be beyond what this one may ask for.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(int(which), tuple(limits))
    is_worker = any(Path(one).name == _RAY_WORKER for one in request["arguments"][:2])
    with contextlib.suppress(OSError):
        score = _KILLED_FIRST if is_worker else request["oom_score_adj"]
        Path("/proc/self/oom_score_adj").write_text(score)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, request["priority"])
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, request["cpus"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _reseed()
    gc.unfreeze()


def _reseed() -> None:
    """Seed what draws without a generator from the system, or all forks would draw the same.

    Python's own `random` does so itself.
    """
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def _run_main(arguments: list[str]) -> None:
    """Run a script or a module as Python's own command line does."""
    while arguments and arguments[0] == "-u":
        del arguments[0]
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    if arguments and arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = str(Path.cwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments and not arguments[0].startswith("-"):
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        # Whatever else a Python can be told, an ordinary one does.
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _finish() -> None:
    """Do what the interpreter does at its end, but for taking itself apart."""
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()


if __name__ == "__main__":
    main()
