"""What is stored with a job, and read by all who see it, names no job that they may not see."""

from typing import Any

import pytest
from sqlalchemy import update

from service.jobs.lifecycle import Decision
from service.scheduling.placement import Node
from service.scheduling.room import Cluster
from service.settings import Settings
from service.store.tables import jobs
from tests.unit.service.conftest import job_in, make_spec, now, progress, report
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import guarding
from trainer.contract.attempt import Outcome
from trainer.contract.status import Status


def test_a_plan_is_measured_in_jobs_that_whoever_sees_the_plan_may_see(
    settings: Settings,
    databases: Databases,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    like = make_spec(
        model={"width": 0.25, "input_size": 64, "num_classes": 10}, optim={"global_batch_size": 64}
    )
    with guarding(settings, databases) as guarded:
        cluster = Cluster(nodes=[Node(id="n", num_cpus=2, num_gpus=0)])
        monkeypatch.setattr(guarded.plane, "cluster", lambda: cluster)
        store = guarded.plane.store
        job_in(store, Status.RUNNING, "hidden", spec=like)
        report(store, "hidden", progress(100, images_per_second=50.0))
        succeeded = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
        store.apply(store.job("hidden"), succeeded, now())
        store.write(
            lambda connection: connection.execute(update(jobs).values(owner="ann", private=True))
        )
        private = request_body | {"private": True}
        for client, body, is_named in (
            (guarded.ann, private, True),
            (guarded.ann, request_body, False),
            (guarded.bob, private, False),
            (guarded.admin, request_body, False),
        ):
            planned = client.post("/jobs/plan", json=body)
            stored = client.get(client.post("/jobs", json=body).headers["Location"])
            for answer in (planned, stored):
                speed = answer.json()["plan"]["speed"]
                assert speed["like_job"] == ("hidden" if is_named else None)
                assert ("hidden" in answer.text) == is_named
