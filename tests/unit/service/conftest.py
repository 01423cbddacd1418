import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from service.access.caller import EVERYONE, Caller
from service.application import create_application
from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.jobs.progress import bottleneck, fraction
from service.jobs.records import JobRecord
from service.settings import Settings
from service.store import engine
from service.store.attempts import NewAttempt
from service.store.store import Store
from service.views.jobs import JobProgress
from tests.postgres import Postgres
from tests.unit.service.databases import (
    Databases,
    PostgresDatabases,
    SqliteDatabases,
    migrated_database,
    migrated_file,
)
from tests.waiting import ANSWERED_WITHIN_S, wait_for
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import AttemptEvent, AttemptEventData, Progress
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired, Status

SHA = "0" * 64


def manifest_document(
    *, image_size: int = 72, num_classes: int = 10, split: str = "train"
) -> dict[str, Any]:
    return {
        "version": 1,
        "split": split,
        "encoding": "jpeg",
        "image_size": image_size,
        "num_samples": 20,
        "classes": [{"name": f"class {i}", "synset": None} for i in range(num_classes)],
        "shards": [
            {"name": "train-00000.tar", "num_samples": 20, "size_bytes": 100, "sha256": SHA}
        ],
        "index": {"name": "index.npy", "size_bytes": 1, "sha256": SHA},
        "mean_image": {"name": "mean.npy", "size_bytes": 1, "sha256": SHA},
        "rgb_pca": {
            "eigenvalues": [3.0, 2.0, 1.0],
            "eigenvectors": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        },
        "packing": {
            "source": "folder",
            "source_sha256": SHA,
            "seed": 0,
            "samples_per_shard": 20,
            "quality": 92,
            "limit": None,
            "skipped": {},
        },
    }


def write_manifest(folder: Path, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest_document(**options)))
    return path


def now() -> datetime:
    return datetime.now(UTC)


def wait_until(probe: Callable[[], Any], *, timeout_s: float = 60.0) -> Any:
    """Return what `probe` gives as soon as it is true; fail after the deadline."""
    return wait_for("what the test asks for", probe, timeout_s=timeout_s, every_s=0.02)


@pytest.fixture(scope="session", autouse=True)
def files_written_when_the_disk_pleases() -> Iterator[None]:
    """Nothing that these tests store must outlive the machine: no commit waits for its disk."""
    configure = engine._configure

    def configure_fast(connection: sqlite3.Connection, busy_timeout_ms: int) -> None:
        configure(connection, busy_timeout_ms)
        connection.execute("PRAGMA synchronous = OFF")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_configure", configure_fast)
        yield


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_manifest(root / "train")
    write_manifest(root / "validation", split="validation")
    return root


@pytest.fixture
def request_body(data_root: Path) -> dict[str, Any]:
    return {
        "preset": "small",
        "name": "a job",
        "data": {
            "train": str(data_root / "train" / "manifest.json"),
            "validation": str(data_root / "validation" / "manifest.json"),
        },
    }


@pytest.fixture
def spec() -> JobSpec:
    return make_spec()


def make_spec(**fields: Any) -> JobSpec:
    return JobSpec.model_validate(
        {"name": "a job", "data": {"train": "/d/t.json", "validation": "/d/v.json"}} | fields
    )


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
)
def database(request: pytest.FixtureRequest) -> str:
    """Which database a test is about: each of both, PostgreSQL outside `make quick`."""
    return str(request.param)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated_file(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    return migrated_database(postgres)


@pytest.fixture(scope="module")
def databases(
    database: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Databases]:
    """Stores of the kind that this run of the module is about."""
    if database == "sqlite":
        template = request.getfixturevalue("sqlite_template")
        yield SqliteDatabases(tmp_path_factory.mktemp("stores"), template)
    else:
        server = request.getfixturevalue("postgres")
        template = request.getfixturevalue("postgres_template")
        databases = PostgresDatabases(server, template)
        yield databases
        databases.drop()


@pytest.fixture
def store_url(databases: Databases) -> str:
    """URL of a new store with this release's tables and nothing in them."""
    return databases.migrated()


@pytest.fixture
def empty_store_url(databases: Databases) -> str:
    """URL of a new store without any table."""
    return databases.empty()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, data_root: Path, databases: Databases
) -> Settings:
    # Nothing listens on the discard port: Ray is never there in these tests.
    return Settings(
        state_dir=tmp_path_factory.mktemp("service") / "state",
        store_url=databases.empty(),
        data_roots=(data_root,),
        ray_address="http://127.0.0.1:9",
        port=free_port(),
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def plane(settings: Settings) -> Iterator[ControlPlane]:
    """Lead and serve one control plane whose loop does not run: jobs change by the tests alone."""
    plane = ControlPlane(settings, token=None)
    plane.try_to_lead()
    with serving(plane):
        yield plane
    plane.stop()


@contextmanager
def serving(
    plane: ControlPlane, *, port: int | None = None, listener: socket.socket | None = None
) -> Iterator[str]:
    """Answer over real HTTP, from a thread, while the block runs; gives the address."""
    server = uvicorn.Server(
        uvicorn.Config(
            create_application(plane),
            host=plane.settings.host,
            port=port or plane.settings.port,
            log_config=None,
            lifespan="off",
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
    )
    sockets = None if listener is None else [listener]
    thread = threading.Thread(target=server.run, args=(sockets,))
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://{plane.settings.host}:{server.config.port}"
    finally:
        plane.begin_stop()
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def http(plane: ControlPlane) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=plane.settings.advertised_url, timeout=ANSWERED_WITHIN_S) as client:
        yield client


# How a job gets to each status, from QUEUED.
_WAYS: dict[Status, tuple[Status, ...]] = {
    Status.QUEUED: (),
    Status.STARTING: (Status.STARTING,),
    Status.RUNNING: (Status.STARTING, Status.RUNNING),
    Status.PAUSING: (Status.STARTING, Status.RUNNING, Status.PAUSING),
    Status.PAUSED: (Status.STARTING, Status.RUNNING, Status.PAUSING, Status.PAUSED),
    Status.RETRYING: (Status.STARTING, Status.RETRYING),
    Status.CANCELLING: (Status.STARTING, Status.RUNNING, Status.CANCELLING),
    Status.SUCCEEDED: (Status.STARTING, Status.RUNNING, Status.SUCCEEDED),
    Status.FAILED: (Status.STARTING, Status.RUNNING, Status.FAILED),
    Status.CANCELLED: (Status.STARTING, Status.RUNNING, Status.CANCELLING, Status.CANCELLED),
}
_WISHES = {Status.PAUSING: Desired.PAUSE, Status.CANCELLING: Desired.CANCEL}
_OUTCOMES = {
    Status.PAUSED: Outcome(outcome="paused"),
    Status.RETRYING: Outcome(outcome="failed", reason=Reason.CRASHED),
    Status.SUCCEEDED: Outcome(outcome="succeeded"),
    Status.FAILED: Outcome(outcome="failed", reason=Reason.BAD_DATA),
    Status.CANCELLED: Outcome(outcome="cancelled"),
}


FIRST_ATTEMPT = NewAttempt(number=1, accelerator="cpu", resume_from=None)


def job_in(
    store: Store,
    status: Status,
    job_id: str,
    *,
    spec: JobSpec | None = None,
    token_sha256: str | None = None,
    by: Caller = EVERYONE,
) -> JobRecord:
    """Bring a new job to a status, by the transitions of the table."""
    job = store.submit(job_id, spec or make_spec(), now(), by=by)
    return bring_to(store, job, status, token_sha256=token_sha256)


def bring_to(
    store: Store, job: JobRecord, status: Status, *, token_sha256: str | None = None
) -> JobRecord:
    """Bring a job that is QUEUED, or on its way there, to a status."""
    way = (Status.QUEUED, *_WAYS[status])
    for step in way[way.index(job.status) + 1 :]:
        if step in _WISHES:
            store.ask(job.id, _WISHES[step])
        if step is Status.STARTING:
            store.begin_attempt(job, replace(FIRST_ATTEMPT, token_sha256=token_sha256), now())
        else:
            outcome = _OUTCOMES.get(step)
            reason = None if outcome is None else outcome.reason
            store.apply(job, Decision(status=step, ended=outcome, reason=reason), now())
        job = store.job(job.id)
    assert job.status is status
    return job


def report(store: Store, job_id: str, *data: AttemptEventData) -> None:
    """Let the newest attempt report what follows on what it has reported."""
    job = store.job(job_id)
    through = store.attempt(job_id, job.attempt).events_through
    taken = store.append_events(
        job_id,
        job.attempt,
        [AttemptEvent(number=through + n, at=now(), data=one) for n, one in enumerate(data, 1)],
    )
    assert taken.stored_through == through + len(data)


def job_progress(step: int, **fields: Any) -> JobProgress:
    """Return `progress` as the API tells it of a job that does not run."""
    told = progress(step, **fields)
    shown = told.model_dump(exclude={"kind"})
    return JobProgress(**shown, fraction=fraction(told), bottleneck=bottleneck(told))


def progress(step: int, **fields: Any) -> Progress:
    return Progress.model_validate(
        {
            "step": step,
            "epoch": step / 10,
            "planned_steps": 100,
            "loss": 1.5,
            "learning_rate": 0.01,
            "images_per_second": 100.0,
            "data_wait_ratio": 0.0,
        }
        | fields
    )
