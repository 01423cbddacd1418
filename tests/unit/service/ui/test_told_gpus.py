"""What attempts said of their GPUs is read once."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from service.jobs.records import JobRecord
from service.store.gpu_ids import GpuIds
from service.store.store import Store
from service.ui import told_gpus
from service.ui.told_gpus import ToldGpus
from tests.unit.service.conftest import job_in, report
from tests.unit.service.store.statements import statements
from tests.unit.service.store.test_gpu_ids import started
from trainer.contract.status import Status

PAIR = (("0", "1"),)


def running(store: Store, job_id: str, *gpu_ids: tuple[str, ...]) -> JobRecord:
    job = job_in(store, Status.RUNNING, job_id)
    if gpu_ids:
        report(store, job_id, started(*gpu_ids))
    return job


def look(store: Store, told: ToldGpus, *jobs: JobRecord) -> tuple[Mapping[str, GpuIds], int]:
    """Return what is told of the jobs, and how many queries that took."""
    with store._engine.connect() as connection, statements(connection) as asked:
        found = told.read(connection, jobs)
        return found, sum(statement.startswith("SELECT") for statement, _ in asked)


def test_what_an_attempt_said_is_read_once(store: Store) -> None:
    told, job, on_cpu = ToldGpus(), running(store, "pair", *PAIR), running(store, "cpu", ())
    for num_queries in (1, 0, 0):
        expected = {"pair": PAIR, "cpu": ((),)}
        assert look(store, told, job, on_cpu) == (expected, num_queries)


def test_one_that_has_said_nothing_yet_is_asked_for_again(store: Store) -> None:
    told, job = ToldGpus(), running(store, "pair")
    for _ in range(2):
        assert look(store, told, job) == ({}, 1)
    report(store, "pair", started(*PAIR))
    assert look(store, told, job) == ({"pair": PAIR}, 1)
    assert look(store, told, job) == ({"pair": PAIR}, 0)


def test_the_next_attempt_speaks_for_itself(store: Store) -> None:
    told, job = ToldGpus(), running(store, "pair", *PAIR)
    look(store, told, job)
    assert look(store, told, replace(job, attempt=2)) == ({}, 1)


def test_no_more_is_kept_than_a_number_of_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told_gpus, "_MAX_ATTEMPTS", 2)
    told, jobs = ToldGpus(), [running(store, f"pair{number}", *PAIR) for number in range(3)]
    for job in jobs:
        look(store, told, job)
    assert len(told._told) == 2
    assert [look(store, told, job)[1] for job in jobs[1:]] == [0, 0]
