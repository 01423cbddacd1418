"""What a control plane's own Ray says of itself, and which of its processes does what."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from service.cluster.ray_jobs import RayJobs
from service.cluster.ray_record import Record
from trainer.contract.run_directory import AttemptDirectory

_FORK_SERVER = "trainer.warm.fork_server"
_LOADER = "data_shards.processes.worker"
# All that ever lived are listed otherwise, and a hundred of them at most.
_LIVE_ACTORS = (
    "/api/v0/actors?detail=true&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"
)


class LocalCluster:
    """The Ray of a state directory, whoever owns it now."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def live_submissions(self) -> list[str]:
        """Return the submissions that wait to start or live."""
        jobs = RayJobs(self._record.url, token=self._token)
        try:
            return [one.id for one in jobs.live_submissions()]
        finally:
            jobs.close()

    def submissions(self) -> list[str]:
        """Return all submissions that Ray remembers, each as often as it does."""
        return [row["submission_id"] for row in self._get("/api/jobs/") if row["submission_id"]]

    def actor(self, submission: str, class_name: str) -> int | None:
        """Return the process of an actor of a submission's Ray job; None: none lives."""
        rows = self._get("/api/jobs/")
        numbers = [row["job_id"] for row in rows if row["submission_id"] == submission]
        for actor in self._get(_LIVE_ACTORS)["data"]["result"]["result"]:
            if actor["job_id"] in numbers and actor["class_name"] == class_name:
                return int(actor["pid"])
        return None

    def fork_server(self) -> int | None:
        """Return the warm process itself, not its forks; None: it is gone."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                # Between Ray and it stands its keeper.
                keeper = psutil.Process(process.ppid())
                if keeper.ppid() == self._record.pid and _FORK_SERVER in process.cmdline():
                    return process.pid
        return None

    def forks(self) -> list[str]:
        """Return the titles of the warm process's forks."""
        server, found = self.fork_server(), []
        if server is not None:
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    waits = process.ppid() == server
                    found += [" ".join(one.cmdline()) for one in process.children() if waits]
        return found

    @property
    def _record(self) -> Record:
        return Record(**json.loads((self._state_dir / "ray.json").read_text()))

    @property
    def _token(self) -> str:
        return (self._state_dir / "ray-token").read_text().strip()

    def _get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"}
        url = f"{self._record.url}{path}"
        answer = httpx.get(url, headers=headers, timeout=20, trust_env=False)
        return answer.raise_for_status().json()


def processes_of(folder: Path) -> Iterator[psutil.Process]:
    """Give those that were started for what lies below a folder, or print into it."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            printing = Path(f"/proc/{process.pid}/fd/1").readlink()
            named = any(str(folder) in one for one in process.cmdline())
            if named or printing.is_relative_to(folder):
                yield process


def launcher(attempt: AttemptDirectory) -> psutil.Process | None:
    """Return what Ray started as the attempt's entrypoint."""
    for process in processes_of(attempt.path):
        with suppress(psutil.Error):
            if process.cmdline()[-1] == str(attempt.path) and process.name() != "sh":
                return process
    return None


def supervisor(attempt: AttemptDirectory) -> int | None:
    """Return Ray's process that started the entrypoint, and waits for it."""
    found = launcher(attempt)
    if found is None:
        return None
    with suppress(psutil.Error):
        parent = found.parent()
        while parent is not None and parent.name() == "sh":
            parent = parent.parent()
        return None if parent is None else parent.pid
    return None


def driver(attempt: AttemptDirectory, workers: list[int]) -> int | None:
    """Return the process that drives an attempt: a fork, or where there is none the entrypoint."""
    for process in processes_of(attempt.path):
        with suppress(psutil.Error):
            if _FORK_SERVER in process.cmdline() and process.pid not in workers:
                return process.pid
    found = launcher(attempt)
    return None if found is None else found.pid


def loader(worker: int) -> int | None:
    """Return a process that decodes images for a worker."""
    with suppress(psutil.Error):
        for process in psutil.Process(worker).children():
            if _LOADER in process.cmdline():
                return process.pid
    return None
