"""What an attempt told comes again, late, out of order, and from those who are not current."""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, select

from service.control_plane import ControlPlane
from service.reconciling.attempt_files import read_spool
from service.settings import Settings
from service.store import store as store_module
from service.store.attempts import read_attempt
from service.store.changes import ingest, update_attempt
from service.store.jobs import read_job
from service.store.reports import Report, Taken
from service.store.tables import checkpoints, events, points
from tests.faults.small_jobs import SmallJobs
from tests.faults.trials import Trial, Trials, seeds
from tests.postgres import Postgres
from tests.unit.service.conftest import free_port, serving
from tests.unit.service.world import World
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import AttemptEvent, EventBatch
from trainer.contract.order_file import read_order
from trainer.contract.run_directory import RunDirectory

pytestmark = pytest.mark.slow

FAULT = "events come twice, late, out of order, and from attempts that are not current"
NUM_SENDERS = 4


@dataclass(frozen=True)
class Sending:
    """A batch as an attempt, or whoever says so, sends it."""

    attempt: int
    token: str | None
    events: Sequence[AttemptEvent]


class Service:
    """A service over HTTP, whose reconciler a test moves on, and a Ray that is pretended."""

    def __init__(self, plane: ControlPlane, http: httpx.Client) -> None:
        self._http = http
        self._plane = plane
        self._world = World(plane.settings.state_dir, plane.store)

    def send(self, job_id: str, sending: Sending) -> httpx.Response:
        token = sending.token
        return self._http.post(
            f"/jobs/{job_id}/attempts/{sending.attempt}/events",
            json=EventBatch(events=tuple(sending.events)).model_dump(mode="json"),
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
        )

    def send_orderly(self, job_id: str, attempt: int, told: Sequence[AttemptEvent]) -> None:
        """Send what is not stored until all is, as attempts do."""
        through = 0
        while through < len(told):
            sending = Sending(attempt, self.token(job_id, attempt), told[through : through + 5])
            through = self.send(job_id, sending).raise_for_status().json()["stored_through"]

    def token(self, job_id: str, attempt: int) -> str:
        token = read_order(self._world.folder(attempt, job_id)).token
        assert token is not None
        return token

    def begin(self, job_id: str) -> None:
        """Have a job begin its first attempt, always at the same moment."""
        self._world.now = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
        self._world.submit(job_id)
        self._world.tick()

    def end(self, job_id: str, attempt: int, outcome: Outcome) -> None:
        """End an attempt; if another follows, have it begin."""
        self._world.tick()
        self._world.end(outcome, attempt, job_id)
        self._world.tick()
        self._world.now += timedelta(hours=1)
        self._world.tick()

    def known(self, job_id: str) -> dict[str, Any]:
        """Return all that is known of a job, but for when this machine's clock said so."""
        job = self._plane.store.job(job_id)
        return {
            "status": job.status,
            "progress": job.progress,
            "evaluation": job.evaluation,
            "checkpoint": (job.checkpoint_step, job.checkpoint_at),
            "attempts": [
                (one.number, one.events_through, one.outcome, one.worker_pids)
                for one in self._plane.store.attempts(job_id)
            ],
            **{
                table.name: self._plane.store.read(partial(_rows, table=table, job_id=job_id))
                for table in (events, points, checkpoints)
            },
        }


def _rows(connection: Connection, table: Any, job_id: str) -> list[dict[str, Any]]:
    query = select(table).where(table.c.job_id == job_id).order_by(*table.primary_key)
    rows = [dict(row._mapping) for row in connection.execute(query)]
    return [{name: row[name] for name in row if name != "job_id"} for row in rows]


@contextmanager
def service(folder: Path, store_url: str) -> Iterator[Service]:
    settings = Settings(
        state_dir=folder / "state",
        store_url=store_url,
        data_roots=(str(folder),),
        ray_address="http://127.0.0.1:9",
        port=free_port(),
    )
    plane = ControlPlane(settings, token=None)
    try:
        plane.try_to_lead()
        with serving(plane) as url, httpx.Client(base_url=url, timeout=20) as http:
            yield Service(plane, http)
    finally:
        plane.stop()


def drawn(draw: random.Random, told: Sequence[AttemptEvent]) -> list[Sequence[AttemptEvent]]:
    """Cut what was told into batches, have some of them come up to three times, and shuffle all."""
    places = [0, *sorted(draw.sample(range(1, len(told)), k=len(told) // 3)), len(told)]
    batches = [told[begin:end] for begin, end in pairwise(places)]
    batches += [*draw.choices(batches, k=len(batches)), told[draw.randrange(len(told)) :]]
    for batch in batches[:2]:
        # Within a batch they are out of order too.
        batches.append(draw.sample(batch, k=len(batch)))
    draw.shuffle(batches)
    return batches


def send_all(
    trial: Trial, service: Service, job_id: str, sendings: Sequence[Sending], *, statuses: set[int]
) -> None:
    """Send from several threads at once; each must be answered by one of the statuses."""
    with ThreadPoolExecutor(NUM_SENDERS) as pool:
        answers = list(pool.map(lambda one: service.send(job_id, one), sendings))
    for sending, answer in zip(sendings, answers, strict=True):
        what = f"attempt {sending.attempt} got HTTP {answer.status_code}: {answer.text[:200]}"
        trial.must(answer.status_code in statuses, "F", what)


CRASHED = Outcome(outcome="failed", reason=Reason.CRASHED, message="it crashed")
SUCCEEDED = Outcome(outcome="succeeded")


def run_orderly(service: Service, told: Sequence[AttemptEvent]) -> dict[str, Any]:
    """Have a job crash halfway and succeed at its second attempt; return what is known of it."""
    service.begin("orderly")
    service.send_orderly("orderly", 1, told[: len(told) // 2])
    service.end("orderly", 1, CRASHED)
    service.send_orderly("orderly", 2, told)
    service.end("orderly", 2, SUCCEEDED)
    return service.known("orderly")


def run_disorderly(
    trial: Trial, service: Service, told: Sequence[AttemptEvent], draw: random.Random
) -> dict[str, Any]:
    """The same, with all that a network may do to it; return what is known of it."""
    job_id, before = "disorderly", told[: len(told) // 2]
    service.begin(job_id)
    first = service.token(job_id, 1)
    ours = [Sending(1, first, batch) for batch in drawn(draw, before)]
    send_all(trial, service, job_id, ours, statuses={200})
    service.send_orderly(job_id, 1, before)
    service.end(job_id, 1, CRASHED)

    second = service.token(job_id, 2)
    stale = [
        Sending(attempt, token, batch)
        for batch in drawn(draw, told)
        for attempt, token in ((1, first), (1, second), (2, first), (3, second), (2, None))
    ]
    send_all(trial, service, job_id, stale[: len(stale) // 2], statuses={401, 403, 409})
    ours = [Sending(2, second, batch) for batch in drawn(draw, told)]
    send_all(trial, service, job_id, ours, statuses={200})
    send_all(trial, service, job_id, stale[len(stale) // 2 :], statuses={401, 403, 409})
    service.send_orderly(job_id, 2, told)
    service.end(job_id, 2, SUCCEEDED)
    send_all(trial, service, job_id, [*stale, *ours], statuses={401, 403, 409})
    return service.known(job_id)


def see_through(
    trial: Trial, service: Service, told: Sequence[AttemptEvent], draw: random.Random
) -> None:
    orderly = run_orderly(service, told)
    disorderly = run_disorderly(trial, service, told, draw)
    for what, known in orderly.items():
        trial.must(disorderly[what] == known, "J", f"{what} are not as of the orderly run")


@pytest.fixture
def told(small_jobs: SmallJobs) -> list[AttemptEvent]:
    """What a real attempt told."""
    return read_spool(RunDirectory(small_jobs.undisturbed_run).attempt(1))


@pytest.mark.parametrize("seed", seeds("13", short=3))
def test_the_history_is_that_of_the_orderly_run(
    faults: Trials, told: list[AttemptEvent], tmp_path: Path, seed: int
) -> None:
    with (
        service(tmp_path, f"sqlite:///{tmp_path / 'store.db'}") as sqlite,
        faults.trial("13", FAULT, seed=seed) as trial,
    ):
        see_through(trial, sqlite, told, random.Random(seed))


@pytest.mark.parametrize("seed", seeds("13 PostgreSQL", short=2))
def test_on_postgresql_too(
    faults: Trials, told: list[AttemptEvent], tmp_path: Path, postgres: Postgres, seed: int
) -> None:
    url = postgres.create("replayed")
    try:
        with (
            service(tmp_path, url) as postgresql,
            faults.trial("13", FAULT, seed=seed) as trial,
        ):
            see_through(trial, postgresql, told, random.Random(seed))
    finally:
        postgres.drop("replayed")


def test_where_gaps_and_stale_attempts_are_taken_it_is_not(
    faults: Trials, told: list[AttemptEvent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_any(connection: Connection, sent: Sequence[Report]) -> list[Taken]:
        found = []
        for one in sent:
            job = read_job(connection, one.job_id, lock=True)
            before = read_attempt(connection, one.job_id, one.attempt).events_through
            new = [event for event in one.events if event.number > before]
            ingest(connection, one.job_id, one.attempt, new, one.at)
            through = max([before, *(event.number for event in new)])
            update_attempt(connection, one.job_id, one.attempt, events_through=through)
            found.append(
                Taken(
                    stored_before=before, stored_through=through, status=job.status, told=job.told
                )
            )
        return found

    monkeypatch.setattr(store_module, "store_reports", take_any)
    with (
        service(tmp_path, f"sqlite:///{tmp_path / 'store.db'}") as taking_any,
        faults.unguarded("13", FAULT) as trial,
    ):
        see_through(trial, taking_any, told, random.Random(0))
        assert {violation[0] for violation in trial.violations} == {"J", "F"}
