"""The product as its users have it: processes, files and HTTP, and images to train on."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import psutil
from PIL import Image

from tests.waiting import wait_for
from trainer.contract.run_directory import AttemptDirectory, RunDirectory

NUM_CLASSES = 10


def draw_images(folder: Path, *, num_images: int, seed: int, size: int = 72) -> Path:
    """Write an image folder of striped, noisy JPEGs whose class is the direction and hue."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size]
    for number in range(num_images):
        label = number % NUM_CLASSES
        angle = np.pi * label / NUM_CLASSES
        phase = random.uniform(0, 2 * np.pi)
        stripes = np.sin((columns * np.cos(angle) + rows * np.sin(angle)) / 4 + phase)
        hue = np.array([label / 9, 0.5, 1 - label / 9])
        pixels = 128 + 60 * stripes[..., None] * hue + random.normal(0, 25, (size, size, 3))
        file = folder / f"class-{label}" / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=90)
    return folder


def run(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one of the project's modules: run("data_shards", "verify", folder)."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stderr + done.stdout
    return done


def pack(source: Path, out: Path, *, split: str) -> Path:
    """Pack an image folder; return its manifest."""
    run(
        *("data_shards", "pack", source, out, "--split", split),
        *("--size", 72, "--samples-per-shard", 250, "--processes", 1),
    )
    return out / "manifest.json"


def free_port() -> int:
    """Return a port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ControlPlane:
    """One `alexnet serve`, on its own state directory, that a test may kill and start again."""

    module = "service"
    prefix: tuple[str, ...] = ()
    """Of the command that starts it."""

    def __init__(self, state_dir: Path, data_root: Path, **settings: str) -> None:
        self.port = free_port()
        self.state_dir = state_dir
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=20)
        self.log = state_dir.with_suffix(".log")
        self._environment = {
            **os.environ,
            "ALEXNET_STATE_DIR": str(state_dir),
            "ALEXNET_DATA_ROOTS": json.dumps([str(data_root)]),
            "ALEXNET_PORT": str(self.port),
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", self.module, "serve"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for("the control plane to be ready", self._ready, timeout_s=90)
        return self

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Start it, and stop it with the block, also where it never becomes ready."""
        try:
            yield self.start()
        finally:
            self.stop()

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "start it first"
        return self._process

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        self.http.close()

    def submit(self, **spec: Any) -> str:
        answer = self.http.post("/jobs", json=spec)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/jobs/{job_id}").raise_for_status().json())

    def events(self, job_id: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"/jobs/{job_id}/events", headers={"Accept": "application/json"})
        return list(answer.raise_for_status().json()["events"])

    def wait_status(self, job_id: str, *statuses: str, timeout_s: float = 120) -> dict[str, Any]:
        def probe() -> dict[str, Any] | None:
            job = self.job(job_id)
            if job["status"] in statuses:
                return job
            ended = job["status"] in ("SUCCEEDED", "FAILED", "CANCELLED")
            assert not ended, (job, self.log.read_text()[-4000:])
            return None

        return wait_for(f"{job_id} to be {' or '.join(statuses)}", probe, timeout_s=timeout_s)

    @property
    def ray_metrics_url(self) -> str:
        """Where its Ray's agent is scraped, if a port was asked for."""
        return f"http://127.0.0.1:{self._environment['ALEXNET_LOCAL_RAY_METRICS_PORT']}/metrics"

    @property
    def store_url(self) -> str:
        return self._environment.get(
            "ALEXNET_STORE_URL", f"sqlite:///{self.state_dir / 'store.db'}"
        )

    def run_directory(self, job_id: str) -> Path:
        run_root = self._environment.get("ALEXNET_RUN_ROOT", self.state_dir / "runs")
        return Path(run_root) / job_id

    def attempt(self, job_id: str) -> AttemptDirectory:
        """Return the newest of a job's attempts."""
        return RunDirectory(self.run_directory(job_id)).attempt(self.job(job_id)["attempt"])


def ledger_lines(attempt: Path, rank: int = 0) -> list[dict[str, Any]]:
    """Return the whole lines of a ledger that may still be growing."""
    file = attempt / f"ledger-{rank}.jsonl"
    if not file.exists():
        return []
    text = file.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def worker_pids(attempt: AttemptDirectory) -> list[int]:
    """Return the process of each replica, as the attempt's first event tells; none before it."""
    with contextlib.suppress(FileNotFoundError):
        for line in attempt.events.read_text().splitlines()[:1]:
            return list(json.loads(line)["data"]["worker_pids"])
    return []


def traces(folder: Path, temporary: Path) -> set[str]:
    """Return what a run in `folder` with TMPDIR = `temporary` could leave behind.

    Its processes (and so its ports) name the folder in their arguments or in their environment,
    which is read whole: Ray's processes write their titles over the beginning of both.
    """
    processes = set()
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            proc = Path(f"/proc/{process.pid}")
            title = (proc / "cmdline").read_bytes()
            if str(folder).encode() in title + (proc / "environ").read_bytes():
                processes.add(f"process {process.pid}: {title.decode(errors='replace')}")
    files = {*temporary.rglob("*"), *Path("/dev/shm").iterdir(), *_known_leaks_past_tmpdir()}
    return processes | set(map(str, files))


def _known_leaks_past_tmpdir() -> set[Path]:
    """Return the folders that Ray and torch make under /tmp whatever TMPDIR says."""
    return {path for name in ("ray", "torchinductor_*") for path in Path("/tmp").glob(name)}
