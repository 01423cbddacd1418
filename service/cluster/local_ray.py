"""A local Ray cluster that the control plane owns: on loopback, with a token, adopted or stopped.

It runs in a session of its own, so that it and the attempts in it outlive a killed control plane;
the next one finds it by STATE_DIR/ray.json and adopts it. All its processes carry the name of its
temporary folder in their environment: that is how every one of them is found when it is stopped.
"""

import hashlib
import json
import logging
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import psutil

from service.cluster.processes import same_boot, start_of
from service.cluster.ray_jobs import RayJobs, RayUnreachableError
from service.cluster.ray_processes import MARK, RayProcesses
from service.errors import UserError
from service.file_lock import FileLock

logger = logging.getLogger(__name__)

# Training keeps its batches in shared memory of its own; Ray's store carries nothing but messages.
OBJECT_STORE_BYTES = 80_000_000
START_TIMEOUT_S = 60.0
RESTART_PAUSE_S = 5.0
# Processes that are asked to go tidy up behind themselves; those that do not are killed.
STOP_GRACE_S = 8.0
KILL_TIMEOUT_S = 5.0


class LocalRayError(UserError):
    """The local Ray cannot be started or stopped; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a control plane must know to find the local Ray of its predecessor."""

    temp_dir: str
    url: str
    pid: int | None
    start: str | None
    """When that process started, as `start_of` tells it."""
    warm_code: str | None = None
    """Of which code its warm process is; None: it has none."""


class LocalRay:
    """The local Ray of one state directory; one process at a time owns it."""

    def __init__(
        self,
        state_dir: Path,
        *,
        url: str,
        num_cpus: int | None,
        num_gpus: int | None,
        warm: bool = False,
    ) -> None:
        """`url`: where the owner is reached, for whoever finds it owned.

        `warm`: its processes are forked from one that has imported torch (trainer.warm).
        """
        self.ownership = FileLock(state_dir / "ray.lock", url=url)
        self._record_path = state_dir / "ray.json"
        self._token_path = state_dir / "ray-token"
        self._log_path = state_dir / "ray.log"
        self._num_cpus = num_cpus
        self._num_gpus = num_gpus
        self._warm = warm
        self._child: subprocess.Popen[bytes] | None = None
        self._jobs: RayJobs | None = None
        self._deadline: float | None = None
        self._not_before = 0.0
        self._num_warm_ends_told = 0

    def jobs(self) -> RayJobs:
        """Return a client of it, starting or adopting it first; cheap enough to call every tick.

        Raises RayUnreachableError while it starts, LocalRayError when it cannot.
        """
        self._own()
        record = self._read()
        if record is None or not self._lives(record):
            record = self._replace()
        if self._deadline is None:
            logger.info("adopting the local Ray at %s", record.url)
            self._deadline = time.monotonic() + START_TIMEOUT_S
        self._tell_of_warm_ends(record)
        if self._jobs is None:
            self._jobs = self._reach(record, self._deadline)
        return self._jobs

    def stop(self) -> bool:
        """Stop it with everything that it started; say whether there was anything.

        Raises LocalRayError while another process owns it, or where something does not end.
        """
        self._own()
        if self._jobs is not None:
            self._jobs.close()
            self._jobs = None
        record = self._read()
        if record is None:
            return False
        logger.info("stopping the local Ray in %s", record.temp_dir)
        processes = RayProcesses(record.temp_dir, session=_session(record))
        if record.pid is not None and self._lives(record):
            psutil.Process(record.pid).terminate()
        processes.wait_gone(STOP_GRACE_S, self._reap)
        if not processes.kill(KILL_TIMEOUT_S, self._reap):
            raise LocalRayError(f"processes of the local Ray in {record.temp_dir} do not end")
        shutil.rmtree(record.temp_dir, ignore_errors=True)
        self._record_path.unlink()
        self._reap()
        self._child = None
        self._deadline = None
        return True

    def leave(self) -> None:
        """Let another control plane own it; it goes on running."""
        if self._jobs is not None:
            self._jobs.close()
            self._jobs = None
        self._deadline = None
        self.ownership.release()

    def _own(self) -> None:
        if not self.ownership.acquire():
            raise LocalRayError(
                f"the local Ray of {self._record_path.parent} belongs to the control plane "
                f"{self.ownership.holder()}; stop that one, or give this one an "
                "ALEXNET_STATE_DIR of its own"
            )

    def _replace(self) -> Record:
        """Start one in place of none or of a dead one."""
        if self._child is not None and self._jobs is None:
            # Ours, and it never answered: starting another at once would end the same way.
            message = self._no_start("ended")
            self.stop()
            self._not_before = time.monotonic() + RESTART_PAUSE_S
            raise LocalRayError(message)
        if time.monotonic() < self._not_before:
            raise RayUnreachableError("the local Ray could not be started; it is tried again")
        self.stop()
        return self._start()

    def _reach(self, record: Record, deadline: float) -> RayJobs:
        token = self._token_path.read_text().strip()
        jobs = RayJobs(record.url, token=token, python=_launcher() if self._is_warm(record) else ())
        try:
            jobs.version()
        except RayUnreachableError as error:
            jobs.close()
            if time.monotonic() < deadline:
                raise RayUnreachableError("the local Ray is starting") from error
            message = self._no_start("does not answer")
            self.stop()
            raise LocalRayError(message) from error
        return jobs

    def _start(self) -> Record:
        # Short, because Ray puts sockets in it and their paths are limited to 107 bytes.
        temp_dir = tempfile.mkdtemp(prefix="alexnet-ray-")
        ports = _free_ports(4)
        record = Record(
            temp_dir=temp_dir,
            url=f"http://127.0.0.1:{ports[0]}",
            pid=None,
            start=None,
            warm_code=_code_sha256() if self._warm else None,
        )
        self._num_warm_ends_told = 0
        # Before the process, so that one that is started is never unknown.
        self._write(record)
        if not self._token_path.exists():
            _write_private(self._token_path, secrets.token_hex(32))
        with self._log_path.open("wb") as log:
            self._child = subprocess.Popen(
                self._command(temp_dir, ports),
                env=self._environment(temp_dir, ports),
                cwd=temp_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        record = replace(record, pid=self._child.pid, start=start_of(self._child.pid))
        self._write(record)
        self._deadline = time.monotonic() + START_TIMEOUT_S
        logger.info("starting a local Ray: %s, files in %s", record.url, temp_dir)
        return record

    def _command(self, temp_dir: str, ports: list[int]) -> list[str]:
        command = [
            # Not the `ray` script: this Python is the one that has Ray.
            *(sys.executable, "-c", "from ray.scripts.scripts import main; main()"),
            *("start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"),
            # The dashboard serves the jobs API; 0 means any free port.
            *("--include-dashboard=true", f"--dashboard-port={ports[0]}"),
            *("--port=0", "--dashboard-agent-listen-port=0", "--metrics-export-port=0"),
            f"--ray-client-server-port={ports[1]}",
            f"--temp-dir={temp_dir}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            *("--log-style=record", "--log-color=false"),
        ]
        if self._num_cpus is not None:
            command.append(f"--num-cpus={self._num_cpus}")
        if self._num_gpus is not None:
            command.append(f"--num-gpus={self._num_gpus}")
        if self._warm:
            # Beside it in its session, by which it is found; Ray's own number is the shell's.
            keeper = [sys.executable, "-m", "trainer.warm.keeper", _fork_socket(temp_dir)]
            return ["sh", "-c", f'{shlex.join(keeper)} & exec "$@"', "sh", *command]
        return command

    def _environment(self, temp_dir: str, ports: list[int]) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if name not in {"RAY_ADDRESS", MARK}
        }
        return inherited | {
            MARK: temp_dir,
            # What Ray's helpers and torch put into temporary files goes with the rest, even when
            # they are killed.
            "TMPDIR": temp_dir,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._token_path),
            # Ray turns 127.0.0.1 into the machine's outer address unless clusters are ruled out.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # Ray would start a worker a core in advance for each job: seconds of both cores, for
            # processes that a job's own workers then do not use.
            "RAY_enable_worker_prestart": "0",
            # Fixed numbers otherwise, which a second Ray on the machine would contend for.
            "AUTOSCALER_METRIC_PORT": str(ports[2]),
            "DASHBOARD_METRIC_PORT": str(ports[3]),
            # Launchers become ordinary Pythons where nobody listens there.
            "ALEXNET_FORK_SERVER": _fork_socket(temp_dir),
        }

    def _lives(self, record: Record) -> bool:
        self._reap()
        return record.pid is not None and record.start == start_of(record.pid) is not None

    def _is_warm(self, record: Record) -> bool:
        # The warm process of a Ray that is adopted may have imported an earlier release.
        return self._warm and record.warm_code == _code_sha256()

    def _tell_of_warm_ends(self, record: Record) -> None:
        """Log that the warm process has died: attempts start slowly until it is there again."""
        try:
            ends = Path(f"{_fork_socket(record.temp_dir)}.ended").read_text().splitlines()
        except OSError:
            return
        for end in ends[self._num_warm_ends_told :]:
            logger.warning("the warm process of the local Ray has died: %s", end)
        self._num_warm_ends_told = len(ends)

    def _reap(self) -> None:
        if self._child is not None:
            self._child.poll()

    def _no_start(self, what: str) -> str:
        tail = "\n".join(self._log_path.read_text(errors="replace").splitlines()[-10:])
        return f"the local Ray {what}; the end of {self._log_path}:\n{tail}"

    def _read(self) -> Record | None:
        try:
            return Record(**json.loads(self._record_path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise LocalRayError(f"{self._record_path} cannot be read: {error}") from error

    def _write(self, record: Record) -> None:
        aside = self._record_path.with_suffix(".tmp")
        aside.write_text(json.dumps(asdict(record), indent=1) + "\n")
        aside.replace(self._record_path)


def _session(record: Record) -> int | None:
    """Return the session that the Ray of a record began, unless its number may be another's now."""
    if record.pid is None or record.start is None or not same_boot(record.start):
        return None
    return record.pid if start_of(record.pid) in (None, record.start) else None


def _launcher() -> list[str]:
    # By its place: it is of the trainer, which the service does not import.
    found = find_spec("trainer.warm.launcher")
    assert found is not None
    assert found.origin is not None
    return [sys.executable, "-I", "-S", found.origin]


def _code_sha256() -> str:
    """Return a digest of which files attempts import, and of when they were written."""
    launcher = Path(_launcher()[-1])
    files = [
        (str(file), file.stat().st_mtime_ns, file.stat().st_size)
        for package in ("trainer", "data_shards")
        for file in sorted((launcher.parents[2] / package).rglob("*.py"))
    ]
    return hashlib.sha256(repr(files).encode()).hexdigest()


def _fork_socket(temp_dir: str) -> str:
    return f"{temp_dir}/fork.sock"


def _write_private(path: Path, text: str) -> None:
    aside = path.with_suffix(".tmp")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    aside.replace(path)


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
