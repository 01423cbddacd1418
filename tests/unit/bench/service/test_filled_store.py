"""Stores that are filled for a bench hold what the service would have written."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from service.store.store import Store
from service.store.tables import jobs, labels, points
from tests.bench.service.databases import DATABASES
from tests.bench.service.filled_store import fill, spec_for
from tests.postgres import Postgres


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty store."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    yield server.create("filled")
    server.drop("filled")


def test_every_job_has_its_points_and_is_found_by_its_labels(url: str, tmp_path: Path) -> None:
    with closing(Store(url)) as store:
        store.migrate()
        ids = fill(url, tmp_path, num_jobs=5, points_per_job=3)
        assert [job.id for job in reversed(store.jobs(limit=9))] == ids
        found = store.jobs(labels=spec_for(tmp_path).labels.items(), before_seq=4, limit=2)
        assert [job.id for job in found] == [ids[2], ids[1]]

        def counts(connection: Connection) -> list[int]:
            by_job = select(func.count()).select_from(points).group_by(points.c.job_id)
            return list(connection.execute(by_job).scalars())

        assert store.read(counts) == [3] * 5
        seqs = select(jobs.c.seq == labels.c.job_seq).join(labels, labels.c.job_id == jobs.c.id)
        assert store.read(lambda connection: all(connection.execute(seqs).scalars()))
