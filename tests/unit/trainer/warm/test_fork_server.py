"""A launcher beside Python itself: whatever is run, both do the same."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_for
from trainer.warm import launcher

LAUNCHER = (sys.executable, "-I", "-S", launcher.__file__)
TELL = """
import json, os, resource, sys
print(json.dumps({
    "argv": sys.argv, "path": sys.path[0], "folder": os.getcwd(), "name": __name__,
    "variable": os.environ.get("TOLD"), "read": sys.stdin.read(), "nice": os.getpriority(0, 0),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE), "umask": os.umask(0),
}))
print("to stderr", file=sys.stderr)
"""


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "fork.sock"


@contextmanager
def serving(socket: Path, *modules: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "trainer.warm.fork_server", str(socket), *modules]
    with subprocess.Popen(command) as process:
        try:
            wait_for("the fork server", socket.exists, timeout_s=30)
            yield process
        finally:
            process.terminate()


@pytest.fixture
def server(socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    # Modules that nobody has imported who runs a script.
    with serving(socket, "wave", "not_there") as process:
        yield process


def environment(socket: Path) -> dict[str, str]:
    return {**os.environ, launcher.SOCKET_VARIABLE: str(socket), "TOLD": "ä\n"}


def script(folder: Path, text: str) -> Path:
    file = folder / "told.py"
    file.write_text(text)
    return file


def both(socket: Path, folder: Path, *arguments: object) -> list[subprocess.CompletedProcess[str]]:
    return [
        subprocess.run(
            [*python, *map(str, arguments)],
            cwd=folder,
            env=environment(socket),
            input="what is written to it",
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: os.nice(3),
        )
        for python in (LAUNCHER, (sys.executable,))
    ]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    "text",
    [
        TELL,
        "import sys; sys.exit(7)",
        "import sys; sys.exit('what is wrong')",
        "import os; os._exit(3)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "raise KeyboardInterrupt",
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(.2), print('late'))).start()",
        "import atexit; atexit.register(print, 'at the end')",
    ],
)
def test_a_script_runs_as_under_python(socket: Path, tmp_path: Path, text: str) -> None:
    warm, plain = both(socket, tmp_path, "-u", script(tmp_path, text), "one", "--two")
    assert (warm.returncode, warm.stdout) == (plain.returncode, plain.stdout)
    assert bool(warm.stderr) == bool(plain.stderr)


@pytest.mark.usefixtures("server")
def test_a_module_and_other_command_lines_run_as_under_python(socket: Path, tmp_path: Path) -> None:
    script(tmp_path, TELL)
    for arguments in (["-m", "told", "three"], ["-c", TELL, "four"], ["--version"]):
        warm, plain = both(socket, tmp_path, *arguments)
        assert (warm.returncode, warm.stdout) == (plain.returncode, plain.stdout)


def test_a_fork_has_what_was_imported_before(
    server: subprocess.Popen[bytes], socket: Path, tmp_path: Path
) -> None:
    file = script(tmp_path, "import sys, os; print('wave' in sys.modules)")
    warm, plain = both(socket, tmp_path, file)
    assert (warm.stdout, plain.stdout) == ("True\n", "False\n")
    assert server.poll() is None


DRAW = """
import random, sys
for module, draw in [
    ("random", random.random),
    ("numpy.random", lambda: sys.modules["numpy"].random.random()),
    ("torch", lambda: sys.modules["torch"].rand(1, dtype=sys.modules["torch"].float64).item()),
]:
    print(module in sys.modules, draw())
"""


def test_no_two_forks_draw_the_same(socket: Path, tmp_path: Path) -> None:
    with serving(socket, "random", "numpy.random", "torch"):
        file = script(tmp_path, DRAW)
        one, other = (
            subprocess.run(
                [*LAUNCHER, file],
                env=environment(socket),
                capture_output=True,
                text=True,
                check=True,
            ).stdout.splitlines()
            for _ in range(2)
        )
    assert len(one) == 3
    assert all(line.startswith("True ") for line in (*one, *other))
    assert not set(one) & set(other)


SLEEP = """
import os, sys, time
try:
    print(os.getpid(), flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(5)
"""


def started(socket: Path, tmp_path: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    process = subprocess.Popen(
        [*LAUNCHER, str(script(tmp_path, SLEEP))],
        env=environment(socket),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, psutil.Process(int(process.stdout.readline()))


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 5), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_signals_are_passed_on(socket: Path, tmp_path: Path, number: int, code: int) -> None:
    process, fork = started(socket, tmp_path)
    with process:
        process.send_signal(number)
        assert process.wait(20) == code
    assert not fork.is_running()


@pytest.mark.usefixtures("server")
def test_a_fork_that_is_killed_is_told_as_killed(socket: Path, tmp_path: Path) -> None:
    process, fork = started(socket, tmp_path)
    with process:
        fork.kill()
        assert process.wait(20) == -signal.SIGKILL


@pytest.mark.usefixtures("server")
def test_a_fork_dies_with_its_launcher_and_with_who_waits_for_it(
    socket: Path, tmp_path: Path
) -> None:
    process, fork = started(socket, tmp_path)
    with process:
        process.kill()
    wait_for("the fork to be gone", lambda: not fork.is_running(), timeout_s=20)
    process, fork = started(socket, tmp_path)
    with process:
        parent = fork.parent()
        assert parent is not None
        parent.kill()
        wait_for("the fork to be gone", lambda: not fork.is_running(), timeout_s=20)
        assert process.wait(20) == -signal.SIGKILL


def test_forks_outlive_the_server_and_then_python_starts_as_ever(
    server: subprocess.Popen[bytes], socket: Path, tmp_path: Path
) -> None:
    process, fork = started(socket, tmp_path)
    with process:
        server.kill()
        server.wait()
        assert fork.is_running()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 5
    # The socket's file is still there, and nobody listens.
    warm, plain = both(socket, tmp_path, script(tmp_path, TELL), "one")
    assert (warm.returncode, warm.stdout) == (plain.returncode, plain.stdout)


def test_a_fork_is_in_the_session_by_which_its_ray_is_ended(
    server: subprocess.Popen[bytes], socket: Path, tmp_path: Path
) -> None:
    process, fork = started(socket, tmp_path)
    with process:
        assert os.getsid(fork.pid) == os.getsid(server.pid)
        process.send_signal(signal.SIGINT)


@pytest.mark.usefixtures("server")
def test_what_a_fork_starts_goes_with_its_launcher(socket: Path, tmp_path: Path) -> None:
    text = """
import os, subprocess
child = subprocess.Popen(["sleep", "60"])
print(child.pid, os.getpgid(0) == os.getpid(), flush=True)
child.wait()
"""
    with subprocess.Popen(
        [*LAUNCHER, str(script(tmp_path, text))],
        env=environment(socket),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid, leads_its_group = process.stdout.readline().split()
        assert leads_its_group == "True"
        sleeper = psutil.Process(int(pid))
        process.kill()
    wait_for("the sleeper to be gone", lambda: not sleeper.is_running(), timeout_s=20)


def test_the_server_goes_with_who_started_it(socket: Path) -> None:
    command = f"{sys.executable} -m trainer.warm.fork_server {socket} wave & echo $!; exec sleep 60"
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        wait_for("the fork server", socket.exists, timeout_s=30)
        parent.kill()
    wait_for("the server to be gone", lambda: not server.is_running(), timeout_s=20)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("name", "score"), [("told.py", "7"), ("default_worker.py", "1000")])
def test_workers_are_killed_first_where_memory_runs_out(
    socket: Path, tmp_path: Path, name: str, score: str
) -> None:
    script(tmp_path, "print(open('/proc/self/oom_score_adj').read())").rename(tmp_path / name)
    done = subprocess.run(
        ["sh", "-c", 'echo 7 > /proc/self/oom_score_adj; exec "$@"', "sh", *LAUNCHER, name],
        cwd=tmp_path,
        env=environment(socket),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == score
