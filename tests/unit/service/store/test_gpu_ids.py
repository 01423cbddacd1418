"""Which GPUs attempts say that they were given."""

from sqlalchemy import update

from service.store.gpu_ids import Attempt, GpuIds, read_gpu_ids
from service.store.store import Store
from service.store.tables import jobs
from tests.unit.service.conftest import job_in, progress, report
from trainer.contract.events import Started
from trainer.contract.status import Status


def started(*gpu_ids: tuple[str, ...]) -> Started:
    pids = tuple(range(1, len(gpu_ids) + 1))
    return Started(
        start_step=0,
        planned_steps=9,
        steps_per_epoch=3,
        worker_pids=pids,
        devices=("cuda:0", "cuda:1"),
        gpu_ids=gpu_ids,
    )


def test_each_replicas_gpus_are_told_of_the_newest_attempt(store: Store) -> None:
    for job_id, first in (
        ("pairs", started(("0", "1"), ("2", "3"))),
        ("on cpu", started((), ())),
        ("silent", progress(1)),
        ("not asked", started(("4", "5"))),
    ):
        job_in(store, Status.RUNNING, job_id)
        report(store, job_id, first, progress(2))
    asked = ["pairs", "on cpu", "silent", "none"]

    def told() -> dict[Attempt, GpuIds]:
        return {**store.read(lambda connection: read_gpu_ids(connection, asked))}

    found = told()
    assert found.pop(("pairs", 1)) == (("0", "1"), ("2", "3"))
    assert found == {("on cpu", 1): ((), ())}
    begun = update(jobs).where(jobs.c.id == "pairs").values(attempt=2)
    store.write(lambda connection: connection.execute(begun))
    assert told() == found
