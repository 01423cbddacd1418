"""One control plane that several threads use, while one of them kills it and starts it again."""

import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.product import ControlPlane
from tests.faults.kills.local_cluster import LocalCluster
from tests.faults.mortal_service import FAILPOINT_VARIABLE, Failpoint, arm, armed
from tests.waiting import wait_for
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import TERMINAL

# As long as a control plane and a Ray of its own take to start on a machine that is at work.
PATIENCE_S = 180.0


class Mortal(ControlPlane):
    """Dies where it is told to, and leaves no job alone for its first minutes."""

    module = "tests.faults.restless_service"


class SharedService:
    """The control plane, and what it says; a context manager that starts and stops it."""

    def __init__(self, folder: Path, data_root: Path, **settings: str) -> None:
        self._failpoint = folder / "failpoint"
        settings |= {FAILPOINT_VARIABLE: str(self._failpoint)}
        self._plane = Mortal(folder / "state", data_root, **settings)
        self._turn = threading.RLock()
        self.cluster = LocalCluster(folder / "state")
        self.num_restarts = 0
        """How often it was stopped as an operator does, and its Ray with it."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it, and stop it with the block."""
        with self._plane.running():
            yield

    @property
    def store_url(self) -> str:
        """Where its store is."""
        return self._plane.store_url

    def run(self, job_id: str) -> RunDirectory:
        """Return the run directory of a job."""
        return RunDirectory(self._plane.run_directory(job_id))

    # What is asked of it, by any thread

    def submit(self, spec: dict[str, Any], key: str) -> str:
        """Submit a job, once however often that takes."""
        return str(self._ask("POST", "/jobs", json=spec, headers={"Idempotency-Key": key})["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as it stands."""
        return self._ask("GET", f"/jobs/{job_id}")

    def wish(self, job_id: str, wish: str) -> bool:
        """Ask for a pause, or to go on; say whether it was not too late for that."""
        told = self._answer("POST", f"/jobs/{job_id}/{wish}")
        if told.status_code == httpx.codes.CONFLICT:
            return False
        _demand(told)
        return True

    def wait_over(self, job_id: str) -> None:
        """Wait until a job has ended, however."""

        def over() -> bool:
            return self.job(job_id)["status"] in TERMINAL

        wait_for(f"the end of {job_id}", over, timeout_s=3 * PATIENCE_S, every_s=0.2)

    def get(self, path: str) -> dict[str, Any]:
        """Return what lies at a path."""
        return self._ask("GET", path)

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        told = self._answer(method, path, **options)
        _demand(told)
        return dict(told.json())

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        def answer() -> httpx.Response | None:
            try:
                answer = self._plane.http.request(method, path, **options)
            except httpx.TransportError:
                return None
            return None if answer.status_code == 503 else answer

        return wait_for(f"an answer to {method} {path}", answer, timeout_s=PATIENCE_S)

    # What one thread at a time does to it

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else kills or restarts it within the block."""
        with self._turn:
            yield

    def kill(self, draw: random.Random) -> None:
        """Kill it, and start it again a while later."""
        with self._turn:
            self._plane.kill()
            time.sleep(draw.uniform(0, 2))
            self._plane.start()

    def arm(self, *points: Failpoint) -> None:
        """Have it meet them, one after another."""
        arm(self._failpoint, *points)

    def wait_met(self) -> list[Failpoint]:
        """Wait until all are met; return those that were not, and forget them."""
        over_s = time.monotonic() + PATIENCE_S
        while (left := armed(self._failpoint)) and time.monotonic() < over_s:
            time.sleep(0.05)
        arm(self._failpoint)
        return left

    @contextmanager
    def revived(self) -> Iterator[None]:
        """Start it again within the block wherever it dies of a failpoint."""
        is_over = threading.Event()

        def revive() -> None:
            while not is_over.wait(0.05):
                if self._plane.process.poll() == -signal.SIGKILL:
                    self._plane.start()

        with ThreadPoolExecutor(1) as pool:
            reviving = pool.submit(revive)
            try:
                yield
            finally:
                is_over.set()
                reviving.result()

    def wait_dead(self, timeout_s: float) -> bool:
        """Wait for it to die of a failpoint; say whether it did, and forget that one if not."""
        try:
            self._plane.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._failpoint.unlink(missing_ok=True)
            return False
        return True

    def start(self) -> None:
        """Start it again where it died."""
        self._plane.start()

    def restart(self) -> None:
        """Stop it as an operator does, with its Ray and all that runs there, and start it again."""
        with self._turn:
            self._plane.process.send_signal(signal.SIGINT)
            self._plane.process.wait(PATIENCE_S)
            self.num_restarts += 1
            self._plane.start()


def _demand(told: httpx.Response) -> None:
    request = told.request
    assert told.is_success, (
        f"{request.method} {request.url.path}: HTTP {told.status_code}: {told.text}"
    )
