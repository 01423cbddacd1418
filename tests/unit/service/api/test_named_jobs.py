"""What is stored with a job, and read by all who see it, names no job that they may not see."""

from typing import Any

import httpx
import pytest
from sqlalchemy import update

from service.jobs.lifecycle import Decision
from service.scheduling.placement import Node
from service.scheduling.room import Cluster
from service.settings import Settings
from service.store.attempts import NewAttempt
from service.store.tables import jobs
from tests.unit.service.conftest import job_in, make_spec, now, progress, report
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import guarding
from tests.unit.service.world import World
from trainer.contract.attempt import AttemptOrder, Outcome
from trainer.contract.order_file import write_order
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


def test_a_clone_tells_of_a_private_source_to_those_alone_who_see_it(
    settings: Settings, databases: Databases, request_body: dict[str, Any]
) -> None:
    with guarding(settings, databases) as guarded:
        everybody = (guarded.admin, guarded.ann, guarded.bob, guarded.vic)

        def told(clone: str) -> list[str | None]:
            """Return what each is told of where the clone comes from, alone and in the list."""
            found = []
            for client in everybody:
                alone = client.get(f"/jobs/{clone}").json()
                page = client.get("/jobs").json()["jobs"]
                (listed,) = (job for job in page if job["id"] == clone)
                assert listed["cloned_from"] == alone["cloned_from"]
                found.append(alone["cloned_from"])
            return found

        def made(client: httpx.Client, source: str, changes: dict[str, Any]) -> str:
            answer = client.post(f"/jobs/{source}/clone", json=changes)
            assert answer.status_code == 201, answer.text
            assert answer.json()["cloned_from"] == source
            return str(answer.json()["id"])

        hidden = guarded.ann.post("/jobs", json=request_body | {"private": True}).json()["id"]
        shown = guarded.ann.post("/jobs", json=request_body).json()["id"]
        # Who does not see it cannot clone it, by either way.
        for client in (guarded.bob, guarded.vic):
            answer = client.post(f"/jobs/{hidden}/clone", json={})
            assert answer.status_code == (404 if client is guarded.bob else 403)
            assert "spec" not in answer.json()
        as_never = guarded.bob.post("/jobs", json={"clone": "never"})
        by_body = guarded.bob.post("/jobs", json={"clone": hidden})
        assert by_body.status_code == as_never.status_code == 422
        assert by_body.text.replace(hidden, "never") == as_never.text
        assert told(made(guarded.bob, shown, {})) == [shown] * 4
        assert told(made(guarded.ann, hidden, {"private": False})) == [hidden, hidden, None, None]
        by_admin = made(guarded.admin, hidden, {"private": False})
        assert told(by_admin) == [hidden, hidden, None, None]
        # Nor is it told of once it is gone.
        assert guarded.ann.post(f"/jobs/{hidden}/cancel").status_code == 202
        store = guarded.plane.store
        store.apply(store.job(hidden), Decision(status=Status.CANCELLED), now())
        assert guarded.ann.delete(f"/jobs/{hidden}").status_code in {200, 202, 204}
        assert guarded.ann.get(f"/jobs/{hidden}").status_code == 404
        assert told(by_admin) == [hidden, None, None, None]


def test_no_job_that_others_see_holds_the_weights_of_a_private_one(
    settings: Settings, databases: Databases, request_body: dict[str, Any]
) -> None:
    with guarding(settings, databases) as guarded:
        world = World(guarded.plane.settings.state_dir, guarded.plane.store)
        hidden = guarded.ann.post("/jobs", json=request_body | {"private": True}).json()["id"]
        order = AttemptOrder(
            job_id=hidden, attempt=1, spec=make_spec(), accelerator="cpu", resume_from=None
        )
        write_order(world.folder(job_id=hidden), order)
        world.checkpoint(10, job_id=hidden)
        store = guarded.plane.store
        job = store.job(hidden)
        store.begin_attempt(job, NewAttempt(number=1, accelerator="cpu", resume_from=None), now())
        named = f"job:{hidden}"
        body = request_body | {"init_from": {"checkpoint": named}}
        for client, private in (
            (guarded.ann, False),
            (guarded.admin, False),
            (guarded.admin, True),
        ):
            for path in ("/jobs", "/jobs/plan"):
                refused = client.post(path, json=body | {"private": private})
                assert refused.status_code == 422
                (error,) = refused.json()["errors"]
                assert error["field"] == "init_from.checkpoint"
                assert "private: true" in error["message"]
        made = guarded.ann.post("/jobs", json=body | {"private": True})
        assert made.status_code == 201, made.text
        clone = f"{made.headers['Location']}/clone"
        assert guarded.ann.post(clone, json={"private": False}).status_code == 422
        assert guarded.ann.post(clone, json={}).status_code == 201
