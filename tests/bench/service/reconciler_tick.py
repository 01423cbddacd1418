"""What a tick of the reconciler costs among many jobs that wait and run, by database.

    python -m tests.bench.service.reconciler_tick [NUM_QUEUED NUM_RUNNING]

Ray is pretended, and answers at once: what is measured is the store, the folders and the decisions.
Counted are CPU seconds of this process, which its API goes without meanwhile. The first tick reads
everything; then nothing changes between ticks, and then every job that runs reports between them.
"""

import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import median

from sqlalchemy import insert, select, update

from service.cluster.ray_jobs import RayJob
from service.cluster.submission import LeftGroup, Origin, Submission
from service.jobs.lifecycle import RayState
from service.reconciling.reconciler import Reconciler
from service.scheduling.placement import Node
from service.scheduling.room import Cluster, Holding
from service.store.engine import connect
from service.store.store import Store
from service.store.tables import attempts, jobs
from tests.bench.service.databases import DATABASES, opened
from tests.bench.service.filled_store import progress, spec_for
from tests.bench.service.live_jobs import add_live_jobs

NUM_TICKS = 10
_ROWS_AT_ONCE = 1000


class FullRay:
    """A cluster on which the jobs that run hold all there is."""

    def __init__(self, running: list[str]) -> None:
        self._holdings = [
            Holding(node_id=f"n{number}", holder=f"{job_id}-1", num_cpus=2, num_gpus=0)
            for number, job_id in enumerate(running)
        ]
        self._nodes = [
            Node(id=f"n{number}", num_cpus=2, num_gpus=0) for number in range(len(running) or 1)
        ]

    def submit(self, submission_id: str, command: list[str], origin: Origin | None) -> None:
        """Take no job: there is no room."""
        raise AssertionError(submission_id)

    def job(self, submission_id: str) -> RayJob:
        """Say that it lives."""
        return RayJob(state=RayState.ALIVE)

    def log(self, submission_id: str) -> str:
        """Return nothing."""
        return ""

    def stop(self, submission_id: str) -> None:
        """End nothing."""

    def live_submissions(self) -> list[Submission]:
        """Return none, so that no orphan is looked for."""
        return []

    def left_groups(self) -> list[LeftGroup]:
        """Return none."""
        return []

    def forget(self, submission_id: str) -> None:
        """Nothing has ended."""

    def cluster(self) -> Cluster:
        """Return the full nodes."""
        return Cluster(nodes=self._nodes, holdings=self._holdings)


def add_queued_jobs(url: str, folder: Path, num_jobs: int) -> None:
    """Store jobs that wait."""
    store = Store(url)
    template = f"{1 << 44:012x}"
    store.submit(template, spec_for(folder), datetime.now(UTC))
    store.close()
    engine = connect(url)
    with engine.begin() as connection:
        (row,) = connection.execute(select(jobs).where(jobs.c.id == template)).mappings()
        own = {name: value for name, value in row.items() if name != "seq"}
        rows = ({**own, "id": f"{(1 << 44) + number:012x}"} for number in range(1, num_jobs))
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            connection.execute(insert(jobs), some)
    engine.dispose()


def _report(store: Store, running: list[str], step: int) -> None:
    """Have every job that runs have done a step more."""
    document = progress(step).model_dump(mode="json")
    store.write(
        lambda connection: (
            connection.execute(
                update(jobs)
                .where(jobs.c.id.in_(running))
                .values(progress=document, advanced_at=datetime.now(UTC))
            ),
            connection.execute(
                update(attempts).where(attempts.c.job_id.in_(running)).values(events_through=step)
            ),
        )
    )


def seconds_of_ticks(
    url: str, run_root: Path, running: list[str]
) -> tuple[float, list[float], list[float]]:
    """Return what the first tick took, those of a silent store, and those after reports."""
    store = Store(url)
    reconciler = Reconciler(
        store,
        run_root=run_root,
        data_roots=("/d",),
        control_plane_url="http://127.0.0.1:8000",
        python=sys.executable,
    )
    ray = FullRay(running)

    def seconds() -> float:
        started = time.process_time()
        reconciler.tick(ray)
        return time.process_time() - started

    first = seconds()
    silent = [seconds() for _ in range(NUM_TICKS)]
    reported = []
    for step in range(1, NUM_TICKS + 1):
        _report(store, running, step)
        reported.append(seconds())
    store.close()
    return first, silent, reported


def main(num_queued: int, num_running: int) -> None:
    """Measure on each database, and print a line of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for database in DATABASES:
            with opened(database, folder / database) as create:
                url, run_root = create("store"), folder / database / "runs"
                store = Store(url)
                store.migrate()
                store.close()
                add_queued_jobs(url, folder, num_queued)
                running = add_live_jobs(url, run_root, folder, num_running)
                first, silent, reported = seconds_of_ticks(url, run_root, running)
            sys.stdout.write(
                f"{database}: {num_queued:,} queued, {num_running:,} running: first tick "
                f"{first:.3f} s of CPU, then {median(silent):.3f} s, after reports of all "
                f"{median(reported):.3f} s (medians of {NUM_TICKS})\n"
            )


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:] or ("10000", "1000")))
