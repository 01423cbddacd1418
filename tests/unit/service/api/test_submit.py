import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.problems import ProblemType
from service.scheduling.placement import Node
from service.scheduling.room import Cluster
from tests.unit.service.conftest import job_in, make_spec, now, progress, report
from tests.unit.trainer.contract.reports import calibration_report
from trainer.contract.attempt import Outcome
from trainer.contract.spec import JobSpec
from trainer.contract.status import Status


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def num_jobs(plane: ControlPlane) -> int:
    return len(plane.store.jobs(limit=1000))


def test_a_request_sent_again_with_its_key_is_answered_with_the_same_job(
    http: httpx.Client, plane: ControlPlane, request_body: dict[str, Any]
) -> None:
    first = http.post("/jobs", json=request_body, headers=keyed("again"))
    assert first.status_code == 201
    assert "Idempotent-Replay" not in first.headers
    before = num_jobs(plane)
    reordered = dict(reversed(request_body.items()))
    # In quotes, as the draft has it, it is the same key.
    for body, key in ((request_body, "again"), (reordered, '"again"')):
        again = http.post("/jobs", json=body, headers=keyed(key))
        assert again.status_code == 201
        assert again.headers["Location"] == first.headers["Location"]
        assert again.headers["Idempotent-Replay"] == "true"
        assert again.json()["id"] == first.json()["id"]
    other = http.post("/jobs", json=request_body | {"seed": 7}, headers=keyed("again"))
    assert (other.status_code, other.json()["type"]) == (422, ProblemType.KEY_REUSED)
    clone = http.post(f"{first.headers['Location']}/clone", json={}, headers=keyed("again"))
    assert clone.json()["type"] == ProblemType.KEY_REUSED
    assert num_jobs(plane) == before


def test_a_refused_request_may_be_mended_and_sent_with_its_key(
    http: httpx.Client, request_body: dict[str, Any]
) -> None:
    wrong = request_body | {"priority": 1000}
    assert http.post("/jobs", json=wrong, headers=keyed("mended")).status_code == 422
    mended = http.post("/jobs", json=request_body, headers=keyed("mended"))
    assert mended.status_code == 201
    assert "Idempotent-Replay" not in mended.headers


def test_a_key_whose_reservation_was_stored_and_not_confirmed_is_free_again(
    http: httpx.Client,
    plane: ControlPlane,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = plane.store.write

    def lose_the_answer(change: Callable[[Connection], Any]) -> None:
        monkeypatch.setattr(plane.store, "write", write)
        write(change)
        raise OperationalError("COMMIT", {}, ConnectionError("lost"))

    monkeypatch.setattr(plane.store, "write", lose_the_answer)
    before = num_jobs(plane)
    lost = http.post("/jobs", json=request_body, headers=keyed("unconfirmed"))
    assert (lost.status_code, num_jobs(plane)) == (503, before)
    again = http.post("/jobs", json=request_body, headers=keyed("unconfirmed"))
    assert (again.status_code, num_jobs(plane)) == (201, before + 1)
    assert "Idempotent-Replay" not in again.headers


def test_a_key_that_could_not_be_given_back_is_free_when_its_request_has_ended(
    http: httpx.Client,
    plane: ControlPlane,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, headers = plane.store.write, keyed("kept")
    lost: list[int] = []
    meanwhile: list[str] = []

    def go_away(change: Callable[[Connection], Any]) -> None:
        lost.append(1)
        if len(lost) == 1:
            write(change)
        else:
            # The same again, while the first is still in work.
            with monkeypatch.context() as patch:
                patch.setattr(plane.store, "write", write)
                answer = http.post("/jobs", json=request_body, headers=headers)
                meanwhile.append(answer.json()["type"])
        raise OperationalError("COMMIT", {}, ConnectionError("the store has gone"))

    before = num_jobs(plane)
    with monkeypatch.context() as patch:
        patch.setattr(plane.store, "write", go_away)
        assert http.post("/jobs", json=request_body, headers=headers).status_code == 503
    assert (len(lost), meanwhile) == (2, [ProblemType.KEY_IN_USE])
    again = http.post("/jobs", json=request_body, headers=headers)
    assert (again.status_code, num_jobs(plane)) == (201, before + 1)
    replayed = http.post("/jobs", json=request_body, headers=headers)
    assert replayed.headers["Location"] == again.headers["Location"]


def test_a_store_that_takes_no_reservation_is_not_waited_for_twice(
    http: httpx.Client,
    plane: ControlPlane,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = []

    def refuse(change: Callable[[Connection], Any]) -> None:
        begun.append(change)
        raise OperationalError("BEGIN", {}, ConnectionError("locked"))

    monkeypatch.setattr(plane.store, "write", refuse)
    assert http.post("/jobs", json=request_body, headers=keyed("locked")).status_code == 503
    assert len(begun) == 1


def test_of_twenty_equal_requests_at_once_one_makes_the_job(
    http: httpx.Client, plane: ControlPlane, request_body: dict[str, Any]
) -> None:
    before = num_jobs(plane)
    together = threading.Barrier(20)

    def send(_number: int) -> str:
        together.wait()
        while True:
            answer = http.post("/jobs", json=request_body, headers=keyed("twenty"))
            if answer.status_code == 201:
                return str(answer.headers["Location"])
            assert answer.json()["type"] == ProblemType.KEY_IN_USE
            assert answer.headers["Retry-After"]

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(send, range(20)))) == 1
    assert num_jobs(plane) == before + 1


@pytest.mark.parametrize("key", ["", "a b", "a" * 129, '"', 'a"', "\x7f", "é"])
def test_a_key_that_is_none_is_refused(
    http: httpx.Client, request_body: dict[str, Any], key: str
) -> None:
    headers = {b"Idempotency-Key": key.encode()}
    answer = http.post("/jobs", json=request_body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, ProblemType.INVALID_REQUEST)
    assert answer.json()["errors"][0]["field"] == "header.idempotency-key"


def test_a_plan_tells_and_stores_nothing(
    http: httpx.Client, plane: ControlPlane, request_body: dict[str, Any]
) -> None:
    before = num_jobs(plane)
    answer = http.post("/jobs/plan", json=request_body | {"optim": {"epochs": 3}})
    assert answer.status_code == 200, answer.text
    plan = answer.json()["plan"]
    # 20 samples are one batch of 64.
    assert (plan["steps"], plan["steps_per_epoch"], plan["epochs"]) == (3, 1, 3)
    assert [one["wrong"] for one in plan["shards"]] == [["train-00000.tar is missing"]] * 2
    assert plan["start"]["when"] == "unknown"
    assert "Ray: not reached yet" in plan["start"]["message"]
    assert plan["speed"]["images_per_second"] is None
    assert answer.json()["spec"]["model"]["width"] == 0.25
    assert num_jobs(plane) == before
    refused = http.post("/jobs/plan", json=request_body | {"optim": {"epochs": 0}})
    assert refused.json()["type"] == ProblemType.SPEC_REFUSED


def test_a_plan_knows_the_cluster_and_jobs_like_it(
    http: httpx.Client,
    plane: ControlPlane,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(nodes=[Node(id="n", num_cpus=2, num_gpus=0)])
    monkeypatch.setattr(plane, "cluster", lambda: cluster)
    finished = make_spec(
        model={"width": 0.25, "input_size": 64, "num_classes": 10}, optim={"global_batch_size": 64}
    )
    job_in(plane.store, Status.RUNNING, "like", spec=finished)
    report(plane.store, "like", progress(100, images_per_second=50.0))
    running = plane.store.job("like")
    plan = http.post("/jobs/plan", json=request_body).json()["plan"]
    assert plan["speed"]["like_job"] is None
    succeeded = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    plane.store.apply(running, succeeded, now())
    plan = http.post("/jobs/plan", json=request_body).json()["plan"]
    speed = plan["speed"]
    assert (speed["like_job"], speed["images_per_second"]) == ("like", 50.0)
    assert speed["training_s"] == pytest.approx(12 * 20 / 50)
    assert plan["start"]["accelerator"] == "cpu"
    never = http.post("/jobs/plan", json=request_body | {"scale": {"replicas": 4}}).json()["plan"]
    assert never["start"]["when"] == "never"
    assert "the whole cluster has 2 CPU" in never["start"]["message"]


def test_a_plan_of_a_job_or_of_a_clone_takes_the_speed_that_a_calibration_measured(
    http: httpx.Client,
    plane: ControlPlane,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(nodes=[Node(id="n", num_cpus=2, num_gpus=0)])
    monkeypatch.setattr(plane, "cluster", lambda: cluster)
    # Of another batch than whatever other tests have left.
    request = request_body | {"optim": {"global_batch_size": 16}}
    unknown = http.post("/jobs/plan", json=request).json()["plan"]["speed"]
    assert unknown["images_per_second"] is None
    calibration = request | {"kind": "calibrate", "name": "calibration of a job"}
    planned = http.post("/jobs/plan", json=calibration).json()["plan"]
    assert [one["split"] for one in planned["shards"]] == ["train"]
    spec = JobSpec.model_validate(http.post("/jobs/plan", json=calibration).json()["spec"])
    job_in(plane.store, Status.RUNNING, "calibrated", spec=spec)
    report(plane.store, "calibrated", progress(100, images_per_second=50.0))
    succeeded = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    plane.store.apply(plane.store.job("calibrated"), succeeded, now())
    folder = plane.settings.run_root / "calibrated"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(calibration_report().model_dump_json())

    for body in (request, {"clone": "calibrated", "kind": "train", "seed": 5}):
        speed = http.post("/jobs/plan", json=body).json()["plan"]["speed"]
        assert (speed["like_job"], speed["images_per_second"]) == ("calibrated", 12_800.0)
        assert speed["basis"] == "measured in calibration calibrated"


def test_the_plan_is_kept_with_the_job(http: httpx.Client, request_body: dict[str, Any]) -> None:
    location = http.post("/jobs", json=request_body).headers["Location"]
    job = http.get(location).json()
    assert job["plan"]["steps"] == 12
    assert job["cloned_from"] is None


def test_a_clone_is_the_earlier_spec_with_changes(
    http: httpx.Client, plane: ControlPlane, request_body: dict[str, Any]
) -> None:
    first = http.post("/jobs", json=request_body | {"optim": {"epochs": 5}}).json()
    changes = {"optim": {"learning_rate": 0.02, "epochs": None, "schedule": {"kind": "plateau"}}}
    for answer in (
        http.post(f"/jobs/{first['id']}/clone", json=changes),
        http.post("/jobs", json={"clone": first["id"], **changes}),
    ):
        assert answer.status_code == 201, answer.text
        clone = http.get(answer.headers["Location"]).json()
        assert clone["cloned_from"] == first["id"]
        assert clone["spec"]["data"] == first["spec"]["data"]
        optim = clone["spec"]["optim"]
        assert (optim["learning_rate"], optim["epochs"]) == (0.02, 90)
        assert optim["schedule"]["kind"] == "plateau"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"clone": "nosuchjob"}, "clone"),
        ({"clone": 5}, "clone"),
        ({"clone": "cloned", "preset": "small"}, "preset"),
        ({"clone": "cloned", "optim": {"learning_rte": 1}}, "optim.learning_rte"),
    ],
)
def test_a_clone_that_cannot_be_is_refused_by_its_field(
    http: httpx.Client, request_body: dict[str, Any], body: dict[str, Any], field: str
) -> None:
    cloned = http.post("/jobs", json=request_body).json()["id"]
    if body["clone"] == "cloned":
        body = body | {"clone": cloned}
    answer = http.post("/jobs", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "content",
    [
        b'{"seed": NaN}',
        b'{"optim": {"learning_rate": Infinity}}',
        b'{"seed": 9223372036854775808}',
        b'{"name": "\\u0000\\u001b[31m"}',
        b'{"labels": {' + b",".join(b'"k%d": "v"' % n for n in range(1000)) + b"}}",
        b'{"\\ud800": "\\ud800"}',
        b'{"name": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"clone": {"a": [NaN, "\\ud800"]}}',
        b'{"clone": "\\u0000"}',
        b'{"clone": "\\ud800"}',
    ],
)
def test_an_attack_is_a_422_with_a_key_or_without_and_keeps_no_key(
    http: httpx.Client, plane: ControlPlane, content: bytes
) -> None:
    before = num_jobs(plane)
    for headers in ({}, keyed("attack"), keyed("attack")):
        for path in ("/jobs", "/jobs/plan"):
            sent = {"Content-Type": "application/json", **headers}
            answer = http.post(path, content=content, headers=sent)
            assert answer.status_code == 422, answer.text
            assert answer.json()["type"] in (
                ProblemType.SPEC_REFUSED,
                ProblemType.INVALID_REQUEST,
            )
    assert num_jobs(plane) == before
