import errno
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.store.attempts import note_verdict
from service.submission import desk
from service.submission.admission import Admitted, admit_request
from service.views.jobs import JobDetail, JobPage
from tests.unit.service.conftest import job_in, make_spec, progress, report
from tests.unit.service.databases import change
from tests.unit.service.world import World
from trainer.contract.attempt import AttemptOrder, Outcome, Reason
from trainer.contract.confinement import path_roots
from trainer.contract.order_file import write_order
from trainer.contract.status import Desired, Status

SHA = "0" * 64


def test_an_accepted_job_is_stored_and_located(
    http: httpx.Client, plane: ControlPlane, request_body: dict[str, Any]
) -> None:
    answer = http.post("/jobs", json=request_body)
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    assert http.get(answer.headers["Location"]).json()["id"] == job["id"]
    assert (job["status"], job["desired"], job["attempt"]) == ("QUEUED", "run", 0)
    stored = plane.store.job(job["id"]).spec
    # The preset is expanded, and what the request says lies over it.
    assert (stored.name, stored.model.width) == (request_body["name"], 0.25)
    assert stored.data.train == request_body["data"]["train"]


def test_links_and_relative_paths_are_stored_as_true_paths(
    http: httpx.Client, plane: ControlPlane, request_body: dict[str, Any]
) -> None:
    (root,) = path_roots(plane.settings.data_roots)
    # The folder is that of all tests here.
    link = root / f"link-{plane.settings.port}"
    link.symlink_to(root / "train")
    data = {"train": link.name, "validation": "validation/manifest.json"}
    answer = http.post("/jobs", json=request_body | {"data": data})
    assert answer.status_code == 201, answer.text
    assert answer.json()["spec"]["data"]["train"] == str(root / "train" / "manifest.json")
    assert answer.json()["spec"]["data"]["validation"] == str(root / data["validation"])


def test_pages_hold_each_job_once_the_newest_first(http: httpx.Client, plane: ControlPlane) -> None:
    made = [job_in(plane.store, Status.PAUSED, f"page{n}").id for n in range(5)]
    listed: list[str] = []
    query: dict[str, Any] = {"status": "PAUSED", "limit": 2}
    while True:
        page = http.get("/jobs", params=query).raise_for_status().json()
        assert len(page["jobs"]) <= 2
        assert {job["status"] for job in page["jobs"]} == {"PAUSED"}
        listed += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert listed == made[::-1]


def test_jobs_are_filtered_by_all_the_labels_that_are_given(
    http: httpx.Client, plane: ControlPlane
) -> None:
    for job_id, labels in (
        ("labels0", {"team": "vision", "a.b-c": "x y"}),
        ("labels1", {"team": "vision"}),
        ("labels2", {"team": "speech", "a.b-c": "x y"}),
        ("labels3", {"team": ""}),
    ):
        job_in(plane.store, Status.QUEUED, job_id, spec=make_spec(labels=labels))
    for given, expected in (
        (["team=vision"], ["labels1", "labels0"]),
        (["a.b-c=x y"], ["labels2", "labels0"]),
        (["team=vision", "a.b-c=x y"], ["labels0"]),
        (["team="], ["labels3"]),
        (["team=none"], []),
        (["tea=vision"], []),
        (["team=' OR 1=1"], []),
    ):
        page = http.get("/jobs", params={"label": given}).raise_for_status().json()
        assert [job["id"] for job in page["jobs"]] == expected
    first = http.get("/jobs", params={"label": "team=vision", "limit": 1}).json()
    query = {"label": "team=vision", "cursor": first["next_cursor"]}
    assert [job["id"] for job in http.get("/jobs", params=query).json()["jobs"]] == ["labels0"]


def test_a_job_shows_its_attempts_but_never_a_token(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.RETRYING, "detail", token_sha256="secret digest")
    answer = http.get("/jobs/detail")
    (attempt,) = answer.json()["attempts"]
    assert attempt["submission_id"] == "detail-1"
    assert attempt["outcome"]["reason"] == "crashed"
    assert "secret digest" not in answer.text


def test_what_an_attempt_is_stopped_for_is_no_outcome_before_it_has_ended(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job = job_in(plane.store, Status.RUNNING, "stopped")
    hung = Outcome(outcome="failed", reason=Reason.HUNG, message="silent")
    plane.store.write(lambda connection: note_verdict(connection, job.id, 1, hung))
    (attempt,) = http.get("/jobs/stopped").json()["attempts"]
    assert (attempt["ended_at"], attempt["outcome"]) == (None, None)
    decision = Decision(status=Status.RETRYING, reason=Reason.HUNG, ended=hung)
    plane.store.apply(job, decision, job.status_since)
    (attempt,) = http.get("/jobs/stopped").json()["attempts"]
    assert attempt["outcome"]["reason"] == "hung"


def test_a_succeeded_job_without_a_readable_report_is_still_shown(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.SUCCEEDED, "reported")
    for text in (None, "{"):
        if text is not None:
            folder = plane.settings.run_root / "reported"
            folder.mkdir(parents=True)
            (folder / "report.json").write_text(text)
        job = http.get("/jobs/reported").raise_for_status().json()
        assert (job["status"], job["report"]) == ("SUCCEEDED", None)


@pytest.fixture(scope="module")
def trained(plane: ControlPlane) -> Path:
    """The checkpoint of a job `trained`."""
    world = World(plane.settings.state_dir, plane.store)
    job_in(plane.store, Status.RUNNING, "trained")
    order = AttemptOrder(
        job_id="trained", attempt=1, spec=make_spec(), accelerator="cpu", resume_from=None
    )
    write_order(world.folder(job_id="trained"), order)
    return world.checkpoint(10, job_id="trained")


@pytest.fixture
def fine_tuning(request_body: dict[str, Any], trained: Path) -> dict[str, Any]:
    return request_body | {"init_from": {"checkpoint": "job:trained", "new_layers": ["fc8"]}}


def test_a_job_holds_the_checkpoint_that_it_names(
    http: httpx.Client, plane: ControlPlane, fine_tuning: dict[str, Any], trained: Path
) -> None:
    answer = http.post("/jobs", json=fine_tuning)
    assert answer.status_code == 201, answer.text
    stored = plane.store.job(answer.json()["id"])
    assert stored.spec.init_from is not None
    held = Path(stored.spec.init_from.checkpoint)
    root = plane.settings.run_root.resolve()
    assert held == root / stored.id / "inputs" / trained.resolve().relative_to(root)
    assert (held / "model.safetensors").samefile(trained / "model.safetensors")


def test_a_checkpoint_that_is_deleted_while_it_is_asked_for_is_refused(
    http: httpx.Client,
    plane: ControlPlane,
    fine_tuning: dict[str, Any],
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aside = trained.with_name("aside")

    def admit_and_delete(*arguments: Any) -> Admitted:
        spec = admit_request(*arguments)
        trained.rename(aside)
        return spec

    monkeypatch.setattr(desk, "admit_request", admit_and_delete)
    before = set(plane.settings.run_root.iterdir())
    answer = http.post("/jobs", json=fine_tuning)
    aside.rename(trained)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "init_from.checkpoint"
    assert "is gone" in error["message"]
    assert set(plane.settings.run_root.iterdir()) == before


def test_a_job_that_cannot_be_stored_or_hold_its_checkpoint_leaves_nothing(
    http: httpx.Client,
    plane: ControlPlane,
    fine_tuning: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = set(plane.settings.run_root.iterdir())

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise OperationalError("INSERT", None, sqlite3.OperationalError("database is locked"))

    with monkeypatch.context() as patch:
        patch.setattr(plane.store, "submit", refuse)
        answer = http.post("/jobs", json=fine_tuning)
    assert answer.status_code == 503
    assert "the store does not answer" in answer.json()["detail"]

    def fill(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "hardlink_to", fill)
    answer = http.post("/jobs", json=fine_tuning)
    assert answer.status_code == 503
    assert "No space left on device" in answer.json()["detail"]
    assert answer.headers["Retry-After"]
    assert set(plane.settings.run_root.iterdir()) == before


@pytest.mark.usefixtures("trained")
def test_checkpoints_that_are_not_there_are_refused_by_their_fields(
    http: httpx.Client, request_body: dict[str, Any]
) -> None:
    evaluation = {"checkpoints": ["job:trained", "job:nosuchjob"]}
    answer = http.post("/jobs", json=request_body | {"kind": "evaluate", "evaluation": evaluation})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "evaluation.checkpoints.1"
    assert error["message"].startswith("there is no job 'nosuchjob'")


ENDED = {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_what_is_asked_is_written_down_or_refused(
    http: httpx.Client, plane: ControlPlane, verb: str, status: Status
) -> None:
    job = job_in(plane.store, status, f"{verb}{status}")
    answer = http.post(f"/jobs/{job.id}/{verb}")
    repeated = verb == "cancel" and status is Status.CANCELLED
    late = status in ENDED or (status is Status.CANCELLING and verb != "cancel")
    after = plane.store.job(job.id)
    # The API writes the wish alone; the status is the reconciler's.
    assert after.status is status
    if late and not repeated:
        assert answer.status_code == 409
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert job.id in answer.json()["detail"]
        assert after.desired is job.desired
    else:
        wish = {"cancel": Desired.CANCEL, "pause": Desired.PAUSE, "resume": Desired.RUN}[verb]
        assert answer.status_code == 202
        assert answer.json()["desired"] == after.desired == wish


def test_a_job_that_cannot_be_read_is_a_problem_of_its_own(
    http: httpx.Client, plane: ControlPlane
) -> None:
    for job_id in ("torn-0", "torn-1", "torn-2"):
        job_in(plane.store, Status.SUCCEEDED, job_id)
    change(plane.settings.store_url, "UPDATE jobs SET spec = '{}' WHERE id = 'torn-1'")
    page = http.get("/jobs", params={"limit": 2}).raise_for_status().json()
    assert [job["id"] for job in page["jobs"]] == ["torn-2"]
    assert page["unreadable"] == ["torn-1"]
    rest = http.get("/jobs", params={"cursor": page["next_cursor"]}).raise_for_status().json()
    assert rest["jobs"][0]["id"] == "torn-0"
    assert rest["unreadable"] == []
    for method, path in (("GET", ""), ("GET", "/checkpoints"), ("POST", "/cancel")):
        answer = http.request(method, f"/jobs/torn-1{path}")
        assert answer.status_code == 500
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"].startswith("job torn-1 is in the store, but")
    assert http.get("/metrics").is_success


@pytest.mark.parametrize("plan", ["{torn", '{"flux": 1}'])
def test_a_job_is_shown_without_the_plan_that_cannot_be_read(
    http: httpx.Client, plane: ControlPlane, plan: str
) -> None:
    job = job_in(plane.store, Status.QUEUED, f"planned-{len(plan)}")
    change(
        plane.settings.store_url,
        "UPDATE jobs SET plan = :plan WHERE id = :id",
        plan=plan,
        id=job.id,
    )
    shown = http.get(f"/jobs/{job.id}").raise_for_status().json()
    assert (shown["id"], shown["plan"]) == (job.id, None)
    assert http.post(f"/jobs/{job.id}/cancel").status_code == 202


def test_answers_are_the_views_that_are_declared(http: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "viewed")
    report(plane.store, "viewed", progress(7))
    for path, view in (("/jobs?limit=2", JobPage), ("/jobs/viewed", JobDetail)):
        answer = http.get(path).raise_for_status()
        assert answer.headers["Content-Type"] == "application/json"
        shown = view.model_validate_json(answer.content)
        assert shown.model_dump_json().encode() == answer.content


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/checkpoints"),
        ("GET", "/report"),
        ("POST", "/cancel"),
        ("POST", "/pause"),
        ("POST", "/resume"),
    ],
)
@pytest.mark.parametrize("job_id", ["nosuchjob", "%00", "'; DROP TABLE jobs; --", "𝕏"])
def test_an_unknown_job_is_a_404_problem(
    http: httpx.Client, method: str, path: str, job_id: str
) -> None:
    answer = http.request(method, f"/jobs/{job_id}{path}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 404
    assert answer.json()["detail"].startswith("there is no job")


def test_labels_beyond_what_one_query_can_join_are_refused(
    http: httpx.Client, plane: ControlPlane
) -> None:
    assert http.get("/jobs", params={"label": ["a=b"] * 16}).status_code == 200
    answer = http.get("/jobs", params={"label": [f"a{n}=b" for n in range(17)]})
    assert answer.status_code == 422, answer.text
