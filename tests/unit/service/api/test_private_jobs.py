"""What is told of private jobs, and who may change whose, over real HTTP."""

from typing import Any

import httpx
import pytest

from tests.unit.service.conftest import FIRST_ATTEMPT, now, progress, report
from tests.unit.service.guarded import Guarded


def submit(client: httpx.Client, body: dict[str, Any], **more: Any) -> str:
    answer = client.post("/jobs", json=body | more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_private_job_is_told_of_to_its_owner_and_admins_alone(
    guarded: Guarded, request_body: dict[str, Any]
) -> None:
    job_id = submit(guarded.ann, request_body, private=True)
    gets = [
        f"/jobs/{job_id}",
        f"/jobs/{job_id}/events",
        f"/jobs/{job_id}/checkpoints",
        f"/jobs/{job_id}/report",
    ]
    posts = [f"/jobs/{job_id}/{wish}" for wish in ("cancel", "pause", "resume")]
    for other in (guarded.bob, guarded.vic):
        for answer in (
            *(other.get(path, headers={"Accept": "application/json"}) for path in gets),
            *(other.post(path) for path in posts),
            other.patch(f"/jobs/{job_id}", json={"priority": 1}),
            other.delete(f"/jobs/{job_id}"),
        ):
            assert answer.status_code == 404
            assert answer.json()["type"] == "urn:alexnet:problem:no-such-job"
            # As of one that there never was.
            assert answer.json() == other.get("/jobs/never").json() | {
                "detail": answer.json()["detail"]
            }
        assert job_id not in [job["id"] for job in other.get("/jobs").json()["jobs"]]
    for one in (guarded.ann, guarded.admin):
        job = one.get(f"/jobs/{job_id}").json()
        assert (job["owner"], job["private"]) == ("ann", True)
        assert job_id in [job["id"] for job in one.get("/jobs").json()["jobs"]]


def test_pages_of_a_list_are_full_although_jobs_are_hidden(
    guarded: Guarded, request_body: dict[str, Any]
) -> None:
    shown = [submit(guarded.ann, request_body, private=n % 2 == 0) for n in range(6)][1::2]
    page = guarded.bob.get("/jobs", params={"limit": 3}).json()
    assert [job["id"] for job in page["jobs"]] == shown[::-1]
    mine = guarded.ann.get("/jobs", params={"limit": 6}).json()["jobs"]
    assert len(mine) == 6


@pytest.mark.parametrize("private", ["yes", 1, None])
def test_private_is_true_or_false(
    guarded: Guarded, request_body: dict[str, Any], private: object
) -> None:
    answer = guarded.ann.post("/jobs", json=request_body | {"private": private})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["private"]


def test_others_jobs_may_be_looked_at_and_not_changed(
    guarded: Guarded, request_body: dict[str, Any]
) -> None:
    job_id = submit(guarded.ann, request_body)
    assert guarded.plane.store.job(job_id).owner == "ann"
    assert guarded.bob.get(f"/jobs/{job_id}").status_code == 200
    for wish in ("cancel", "pause", "resume"):
        answer = guarded.bob.post(f"/jobs/{job_id}/{wish}")
        assert answer.status_code == 403
        assert f"job {job_id} is ann's" in answer.json()["detail"]
    assert guarded.bob.patch(f"/jobs/{job_id}", json={"priority": 1}).status_code == 403
    assert guarded.bob.delete(f"/jobs/{job_id}").status_code == 403
    assert guarded.plane.store.job(job_id).desired == "run"
    assert guarded.plane.store.job(job_id).spec.priority == 0
    assert guarded.ann.patch(f"/jobs/{job_id}", json={"priority": 1}).status_code == 200
    assert guarded.admin.patch(f"/jobs/{job_id}", json={"priority": 2}).status_code == 200
    assert guarded.ann.post(f"/jobs/{job_id}/pause").status_code == 202
    assert guarded.admin.post(f"/jobs/{job_id}/cancel").status_code == 202


def test_metrics_tell_of_hidden_jobs_to_nobody_else(
    guarded: Guarded, request_body: dict[str, Any]
) -> None:
    job_id = submit(guarded.ann, request_body, private=True)
    store = guarded.plane.store
    store.begin_attempt(store.job(job_id), FIRST_ATTEMPT, now())
    report(store, job_id, progress(3))
    assert job_id in guarded.ann.get("/metrics").text
    assert job_id in guarded.admin.get("/metrics").text
    assert job_id not in guarded.bob.get("/metrics").text
