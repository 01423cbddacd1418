"""A local Ray cluster that the control plane owns: on loopback, with a token, adopted or stopped.

It runs in a session of its own, so that it and the attempts in it outlive a killed control plane;
the next one finds it by STATE_DIR/ray.json and adopts it. All its processes carry the name of its
temporary folder in their environment: that is how every one of them is found when it is stopped.
"""

import logging
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil

from service.cluster.processes import start_of
from service.cluster.ray_jobs import RayJobs, RayUnreachableError
from service.cluster.ray_lock import RayLock
from service.cluster.ray_processes import RayProcesses
from service.cluster.ray_record import Record, read_record, write_record
from service.cluster.ray_start import RayStart, free_ports
from service.cluster.warm_process import code_sha256, deaths, launcher
from service.errors import UserError

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
RESTART_PAUSE_S = 5.0
# Processes that are asked to go tidy up behind themselves; those that do not are killed.
STOP_GRACE_S = 8.0
KILL_TIMEOUT_S = 5.0

STARTING = "the local Ray is starting"


class LocalRayError(UserError):
    """The local Ray cannot be started or stopped; the message says why."""


class LocalRay:
    """The local Ray of one state directory; one process at a time owns it.

    It is for one thread at a time; only its ownership may be given up by any.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        url: str,
        num_cpus: int | None,
        num_gpus: int | None,
        metrics_port: int | None = None,
        warm: bool = False,
    ) -> None:
        """`url`: where the owner is reached, for whoever finds it owned.

        `warm`: its processes are forked from one that has imported torch (trainer.warm).
        """
        self.ownership = RayLock(state_dir / "ray.lock", url=url)
        self._record_path = state_dir / "ray.json"
        self._token_path = state_dir / "ray-token"
        self._log_path = state_dir / "ray.log"
        self._num_cpus = num_cpus
        self._num_gpus = num_gpus
        self._metrics_port = metrics_port
        self._warm = warm
        self._child: subprocess.Popen[bytes] | None = None
        self._jobs: RayJobs | None = None
        self._deadline: float | None = None
        self._not_before = 0.0
        self._num_warm_deaths_told = 0

    def jobs(self) -> RayJobs:
        """Return a client of it, starting or adopting it first; cheap enough to call every tick.

        Raises RayUnreachableError while it starts, LocalRayError when it cannot.
        """
        with self.ownership.in_use():
            self._own()
            return self._find()

    def _find(self) -> RayJobs:
        record = self._read()
        if record is None or not self._lives(record):
            record = self._replace()
        if self._deadline is None:
            logger.info("adopting the local Ray at %s", record.url)
            # Whoever owned it before has told of those.
            self._num_warm_deaths_told = len(deaths(record.temp_dir))
            self._deadline = time.monotonic() + START_TIMEOUT_S
        self._tell_of_warm_deaths(record)
        if self._jobs is None:
            self._jobs = self._reach(record, self._deadline)
        return self._jobs

    def stop(self) -> bool:
        """Stop it with everything that it started; say whether there was anything.

        Raises LocalRayError while another process owns it, or where something does not end.
        """
        with self.ownership.in_use():
            self._own()
            return self._stop()

    def _stop(self) -> bool:
        if self._jobs is not None:
            self._jobs.close()
            self._jobs = None
        record = self._read()
        if record is None:
            return False
        logger.info("stopping the local Ray in %s", record.temp_dir)
        processes = RayProcesses(record.temp_dir, session=record.session)
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
        """Let another control plane own it; it goes on running. Until a claim it is left alone."""
        if self._jobs is not None:
            self._jobs.close()
            self._jobs = None
        self._deadline = None
        self.ownership.give_up()

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
            self._stop()
            self._not_before = time.monotonic() + RESTART_PAUSE_S
            raise LocalRayError(message)
        if time.monotonic() < self._not_before:
            raise RayUnreachableError("the local Ray could not be started; it is tried again")
        self._stop()
        return self._start()

    def _reach(self, record: Record, deadline: float) -> RayJobs:
        token = self._token_path.read_text().strip()
        jobs = RayJobs(record.url, token=token, python=launcher() if self._is_warm(record) else ())
        try:
            jobs.version()
        except RayUnreachableError as error:
            jobs.close()
            if time.monotonic() < deadline:
                raise RayUnreachableError(STARTING) from error
            message = self._no_start("does not answer")
            self._stop()
            raise LocalRayError(message) from error
        return jobs

    def _start(self) -> Record:
        # Short, because Ray puts sockets in it and their paths are limited to 107 bytes.
        temp_dir = tempfile.mkdtemp(prefix="alexnet-ray-")
        start = RayStart(
            temp_dir=temp_dir,
            ports=free_ports(),
            token_path=self._token_path,
            num_cpus=self._num_cpus,
            num_gpus=self._num_gpus,
            metrics_port=self._metrics_port,
            warm=self._warm,
        )
        record = Record(
            temp_dir=temp_dir,
            url=f"http://127.0.0.1:{start.ports.dashboard}",
            pid=None,
            start=None,
            warm_code=code_sha256() if self._warm else None,
        )
        self._num_warm_deaths_told = 0
        # Before the process, so that one that is started is never unknown.
        write_record(self._record_path, record)
        if not self._token_path.exists():
            _write_private(self._token_path, secrets.token_hex(32))
        # A disk may have hung since, and a stop gone on without this thread.
        if not self.ownership.acquire():
            raise LocalRayError("no local Ray is started: this process has given it up")
        with self._log_path.open("wb") as log:
            self._child = subprocess.Popen(
                self._command(start),
                env=start.environment(os.environ),
                cwd=temp_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        record = replace(record, pid=self._child.pid, start=start_of(self._child.pid))
        write_record(self._record_path, record)
        self._deadline = time.monotonic() + START_TIMEOUT_S
        logger.info("starting a local Ray: %s, files in %s", record.url, temp_dir)
        return record

    def _command(self, start: RayStart) -> list[str]:
        return start.command()

    def _lives(self, record: Record) -> bool:
        self._reap()
        return record.lives

    def _is_warm(self, record: Record) -> bool:
        # The warm process of a Ray that is adopted may have imported an earlier release.
        return self._warm and record.warm_code == code_sha256()

    def _tell_of_warm_deaths(self, record: Record) -> None:
        """Log that the warm process has died: attempts start slowly until it is there again."""
        seen = deaths(record.temp_dir)
        for death in seen[self._num_warm_deaths_told :]:
            logger.warning("the warm process of the local Ray has died: %s", death)
        self._num_warm_deaths_told = len(seen)

    def _reap(self) -> None:
        if self._child is not None:
            self._child.poll()

    def _no_start(self, what: str) -> str:
        tail = "\n".join(self._log_path.read_text(errors="replace").splitlines()[-10:])
        return f"the local Ray {what}; the end of {self._log_path}:\n{tail}"

    def _read(self) -> Record | None:
        try:
            return read_record(self._record_path)
        except ValueError as error:
            raise LocalRayError(str(error)) from error


def _write_private(path: Path, text: str) -> None:
    aside = path.with_suffix(".tmp")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    aside.replace(path)
