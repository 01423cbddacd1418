from typing import Any

import httpx
import pytest

from service.control_plane import ControlPlane
from service.jobs.events import Edited
from service.problems import ProblemType
from service.store.audit import read_audit
from service.store.store import Store
from tests.unit.service.conftest import job_in, make_spec
from trainer.contract.status import Status


def edits(store: Store, job_id: str) -> list[Edited]:
    events = store.events(job_id, limit=100)
    return [one.data for one in events if isinstance(one.data, Edited)]


def audited(store: Store, job_id: str) -> list[Any]:
    entries = store.read(lambda connection: read_audit(connection, target=job_id, limit=100))
    return [entry.detail for entry in entries if entry.action == "job.edit"]


def test_a_job_gets_another_priority_and_other_labels_and_everyone_is_told(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.RUNNING, "edited", spec=make_spec(labels={"old": "1", "kept": "2"}))
    changes = {"priority": 7, "labels": {"old": None, "new": "3"}}
    answer = http.patch("/jobs/edited", json=changes)
    assert answer.status_code == 200
    spec = answer.json()["spec"]
    assert (spec["priority"], spec["labels"]) == (7, {"kept": "2", "new": "3"})
    assert plane.store.job("edited").spec.labels == spec["labels"]
    for label, found in (("new=3", ["edited"]), ("kept=2", ["edited"]), ("old=1", [])):
        jobs = http.get("/jobs", params={"label": label}).json()["jobs"]
        assert [job["id"] for job in jobs] == found
    # Asked again it is no change.
    assert http.patch("/jobs/edited", json=changes).json()["spec"] == spec
    assert http.patch("/jobs/edited", json={}).json()["spec"] == spec
    assert edits(plane.store, "edited") == [Edited(**changes)]
    assert audited(plane.store, "edited") == [changes]


def test_of_a_job_that_has_ended_labels_alone_are_changed(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.SUCCEEDED, "done")
    refused = http.patch("/jobs/done", json={"priority": 1, "labels": {"a": "b"}})
    assert (refused.status_code, refused.json()["type"]) == (409, ProblemType.TOO_LATE)
    assert plane.store.job("done").spec.labels == {}
    assert http.patch("/jobs/done", json={"labels": {"a": "b"}}).status_code == 200
    assert plane.store.job("done").spec.labels == {"a": "b"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"priority": 101}, "priority"),
        ({"labels": {"A": "x"}}, "labels.A.[key]"),
        ({"labels": {"a": "x" * 81}}, "labels.a"),
        ({"labels": {f"k{n}": "" for n in range(33)}}, "labels"),
        ({"seed": 1}, "seed"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field_and_changes_nothing(
    http: httpx.Client, plane: ControlPlane, changes: dict[str, Any], field: str
) -> None:
    job_id = f"refused-{field}"
    before = job_in(plane.store, Status.QUEUED, job_id)
    answer = http.patch(f"/jobs/{job_id}", json=changes)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert plane.store.job(job_id) == before
    assert edits(plane.store, job_id) == audited(plane.store, job_id) == []
