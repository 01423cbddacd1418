"""A reconciler among a Ray that is pretended, a store and a clock that is set by hand."""

from datetime import UTC, datetime
from pathlib import Path

from service.cluster.ray_jobs import RayJob, RayUnreachableError
from service.cluster.submission import LeftGroup, Origin, Submission
from service.jobs.events import StatusChanged
from service.jobs.lifecycle import RayState
from service.jobs.records import JobRecord
from service.reconciling.reconciler import Reconciler
from service.scheduling.placement import Node
from service.scheduling.queue import QueuePolicy
from service.scheduling.room import Cluster, Holding
from service.store.store import Store
from tests.unit.service.conftest import make_spec
from trainer.contract.attempt import AttemptOrder, Outcome
from trainer.contract.checkpoint import (
    CheckpointFile,
    CheckpointManifest,
    DataDigests,
    ScheduleState,
)
from trainer.contract.checkpoint_folder import measure
from trainer.contract.events import AttemptEvent, Progress
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.status import Status


class FakeRay:
    """A cluster of one node that remembers what it was asked."""

    def __init__(self) -> None:
        self.jobs: dict[str, RayJob] = {}
        self.commands: dict[str, list[str]] = {}
        self.origins: dict[str, Origin] = {}
        self.printed: dict[str, str] = {}
        self.stopped: list[str] = []
        self.submissions = 0
        self.num_cpus = 2.0
        self.holdings: list[Holding] = []
        self.waiting: set[str] = set()
        self.left: list[LeftGroup] = []
        self.forgotten: list[str] = []
        self.reachable = True
        self.die_in_submit = False
        self.refuse_submissions = False

    def submit(self, submission_id: str, command: list[str], origin: Origin | None) -> None:
        self._reach()
        if self.refuse_submissions:
            raise RayUnreachableError("no agent")
        if submission_id not in self.jobs:
            self.submissions += 1
            self.jobs[submission_id] = RayJob(state=RayState.ALIVE)
            self.commands[submission_id] = command
            if origin is not None:
                self.origins[submission_id] = origin
        if self.die_in_submit:
            raise RayUnreachableError("the answer was lost")

    def job(self, submission_id: str) -> RayJob:
        self._reach()
        return self.jobs.get(submission_id, RayJob(state=RayState.ABSENT))

    def log(self, submission_id: str) -> str:
        self._reach()
        return self.printed.get(submission_id, "")

    def stop(self, submission_id: str) -> None:
        self.stopped.append(submission_id)

    def live_submissions(self) -> list[Submission]:
        self._reach()
        return [
            Submission(id=name, origin=self.origins.get(name))
            for name, job in self.jobs.items()
            if job.state is RayState.ALIVE
        ]

    def cluster(self) -> Cluster:
        self._reach()
        return Cluster(
            nodes=[Node(id="n", num_cpus=self.num_cpus, num_gpus=0)],
            holdings=self.holdings,
            waiting=frozenset(self.waiting),
        )

    def left_groups(self) -> list[LeftGroup]:
        self._reach()
        return self.left

    def forget(self, submission_id: str) -> None:
        self._reach()
        self.forgotten.append(submission_id)
        self.jobs.pop(submission_id, None)

    def end(
        self, submission_id: str, message: str | None = None, exit_code: int | None = None
    ) -> None:
        self.jobs[submission_id] = RayJob(
            state=RayState.ENDED, message=message, exit_code=exit_code
        )

    def _reach(self) -> None:
        if not self.reachable:
            raise RayUnreachableError("no answer")


class World:
    """A reconciler, what it acts on, and a clock that is set by hand."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store = store
        self.run_root = folder / "runs"
        self.run_root.mkdir(exist_ok=True)
        self.ray = FakeRay()
        self.url = "http://control:8000"
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.policy = QueuePolicy()
        self.restart()

    def restart(self) -> None:
        """Begin anew with nothing in memory, as after a crash."""
        self.reconciler = Reconciler(
            self.store,
            run_root=self.run_root,
            data_roots=("/d",),
            control_plane_url=self.url,
            python="/usr/bin/python3",
            policy=self.policy,
            clock=lambda: self.now,
            monotonic=self._monotonic,
        )

    def _monotonic(self) -> float:
        return self.now.timestamp()

    def submit(self, job_id: str = "a", **fields: object) -> JobRecord:
        return self.store.submit(job_id, make_spec(**fields), self.now)

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.reconciler.tick(self.ray)

    def status(self, job_id: str = "a") -> Status:
        return self.store.job(job_id).status

    def folder(self, number: int = 1, job_id: str = "a") -> AttemptDirectory:
        return RunDirectory(self.run_root / job_id).attempt(number)

    def order(self, number: int = 1) -> AttemptOrder:
        return AttemptOrder.model_validate_json(self.folder(number).order.read_bytes())

    def report(self, number: int = 1) -> None:
        self.store.append_events("a", number, [event_of(1)])

    def end(self, outcome: Outcome, number: int = 1, job_id: str = "a") -> None:
        self.folder(number, job_id).outcome.write_text(outcome.model_dump_json())
        self.ray.end(f"{job_id}-{number}")

    def transitions(self, job_id: str = "a") -> list[Status]:
        events = self.store.events(job_id, limit=100)
        return [one.data.after for one in events if isinstance(one.data, StatusChanged)]

    def checkpoint(self, step: int, number: int = 1, job_id: str = "a") -> Path:
        folder = self.folder(number, job_id).checkpoint(step)
        folder.mkdir(parents=True)
        files = {}
        for name in ("model.safetensors", "velocity.safetensors"):
            (folder / name).write_bytes(f"{name} {step}".encode())
            size_bytes, sha256 = measure(folder / name)
            files[name] = CheckpointFile(size_bytes=size_bytes, sha256=sha256)
        manifest = CheckpointManifest(
            job_id=job_id,
            attempt=number,
            step=step,
            epoch=0.5,
            schedule=ScheduleState(),
            top1=None,
            top5=None,
            spec_sha256="0" * 64,
            data_sha256=DataDigests(train="a" * 64, validation="b" * 64),
            numerics={},
            files=files,
        )
        (folder / "checkpoint.json").write_text(manifest.model_dump_json())
        return folder


def event_of(number: int) -> AttemptEvent:
    progress = Progress(
        step=number,
        epoch=0.1,
        planned_steps=10,
        loss=1.0,
        learning_rate=0.01,
        images_per_second=1.0,
        data_wait_ratio=0,
    )
    return AttemptEvent(number=number, at=datetime(2026, 1, 1, tzinfo=UTC), data=progress)
