import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.bodies import MAX_VALUES
from service.api.errors import MAX_BODY_BYTES
from service.control_plane import ControlPlane
from service.problems import MAX_TOLD, ProblemType
from service.settings import Settings
from service.store.engine import BUSY_TIMEOUT_MS
from tests.unit.service.conftest import (
    free_port,
    job_in,
    manifest_document,
    serving,
    write_manifest,
)
from tests.unit.service.databases import written_by_another
from tests.waiting import ANSWERED_WITHIN_S
from trainer.contract.status import Status

JSON = {"Content-Type": "application/json"}


def problem_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Return a problem document, after holding it to RFC 9457 and to our own members."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = dict(answer.json())
    assert problem.keys() == {"type", "title", "status", "detail", "errors"}
    assert problem["title"] == next(one.summary for one in ProblemType if one == problem["type"])
    assert problem["status"] == status
    assert problem["detail"]
    return problem


def num_jobs(plane: ControlPlane) -> int:
    return len(plane.store.jobs(limit=1000))


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        below = both.get(key)
        both[key] = (
            merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return both


@pytest.mark.parametrize(
    ("change", "field", "mend"),
    [
        ({"status": "SUCCEEDED"}, "status", "remove it"),
        ({"optim": {"learning_rte": 0.1}}, "optim.learning_rte", "remove it"),
        ({"runtime_env": {"pip": ["x"]}}, "runtime_env", "remove it"),
        ({"optim": {"epochs": "many"}}, "optim.epochs", "integer"),
        ({"optim": 5}, "optim", "write an object"),
        ({"labels": ["a"]}, "labels", "write an object"),
        ({"seed": 2**63}, "seed", "4294967296"),
        ({"optim": {"schedule": {"epochs": [0]}}}, "optim.schedule.epochs.0", "greater than"),
        ({"optim": {"schedule": {"kind": "cosine"}}}, "optim.schedule", "'plateau', 'steps'"),
        ({"name": "\x1b[31m"}, "name", "pattern"),
        ({"preset": "large"}, "preset", "choose one of paper, "),
        ({"preset": 7}, "preset", "choose one of paper, "),
        ({"optim": {"global_batch_size": 60}}, "optim.global_batch_size", "multiple of 8"),
        ({"scale": {"replicas": 16}}, "data.num_streams", "multiple of 16 that divides"),
        ({"scale": {"replicas": 3}}, "data.num_streams", "global_batch_size = 66 with 3 streams"),
        ({"optim": {"micro_batch_size": 7}}, "optim.micro_batch_size", "does not divide"),
        ({"model": {"num_classes": 9}}, "model.num_classes", "use 10 or more"),
        ({"model": {"input_size": 96}}, "model.input_size", "use 72 or less"),
        ({"data": {"train": "gone"}}, "data.train", "pack the images first"),
        ({"data": {"validation": "torn"}}, "data.validation", "pack the images again"),
        ({"data": {"train": "binary"}}, "data.train", "cannot be read"),
        ({"data": {"train": "future"}}, "data.train", "this release reads version 1"),
        ({"data": {"train": "other-size/subset.json"}}, "data.train", "name the folder of the"),
        ({"data": {"train": "renamed"}}, "data.train", "name the folder of the shards"),
        ({"data": {"train": "/etc/passwd"}}, "data.train", "ALEXNET_DATA_ROOTS"),
        ({"data": {"train": "../../etc/passwd"}}, "data.train", "ALEXNET_DATA_ROOTS"),
        ({"data": {"train": "escape"}}, "data.train", "ALEXNET_DATA_ROOTS"),
        ({"data": {"train": "loop"}}, "data.train", "is not a usable path"),
        ({"data": {"train": "a\0b"}}, "data.train", "is not a usable path"),
        ({"data": {"train": "http://169.254.169.254/m"}}, "data.train", "a URL of s3, gs or az"),
        ({"data": {"validation": "other-classes"}}, "data.validation", "the same classes"),
        ({"data": {"validation": "other-size"}}, "data.validation", "pack them alike"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
@pytest.mark.usefixtures("faulty_data")
def test_a_spec_that_is_refused_names_field_and_mend_and_leaves_no_trace(
    http: httpx.Client,
    plane: ControlPlane,
    request_body: dict[str, Any],
    *,
    change: dict[str, Any],
    field: str,
    mend: str,
) -> None:
    before = num_jobs(plane)
    problem = problem_of(http.post("/jobs", json=merged(request_body, change)), 422)
    messages = {error["field"]: error["message"] for error in problem["errors"]}
    assert list(messages) == [field]
    assert mend in messages[field]
    assert num_jobs(plane) == before
    assert list(plane.settings.run_root.iterdir()) == []


@pytest.fixture(scope="module")
def faulty_data(data_root: Path) -> None:
    for name, content in (("torn", b'{"version"'), ("binary", b"\xff"), ("future", b"{}")):
        (data_root / name).mkdir()
        (data_root / name / "manifest.json").write_bytes(content)
    (data_root / "escape").symlink_to("/etc")
    (data_root / "loop").symlink_to("loop")
    write_manifest(data_root / "other-classes", num_classes=9, split="validation")
    path = write_manifest(data_root / "other-size", image_size=100, split="validation")
    # Sound manifests, but the trainer reads the manifest.json beside them.
    path.with_name("subset.json").write_text(json.dumps(manifest_document()))
    (data_root / "renamed").mkdir()
    (data_root / "renamed" / "manifest.json").symlink_to(path.with_name("subset.json"))


def test_every_field_at_fault_is_named_at_once(
    http: httpx.Client, request_body: dict[str, Any]
) -> None:
    del request_body["name"]
    request_body |= {"priority": 1000, "optim": {"momentum": 2}, "data": {"train": "gone"}}
    problem = problem_of(http.post("/jobs", json=request_body), 422)
    fields = {error["field"] for error in problem["errors"]}
    assert fields == {"name", "priority", "optim.momentum", "data.validation"}


@pytest.mark.parametrize(
    ("content", "headers", "message"),
    [
        (b'{"name": ', JSON, "not JSON: Expecting value at character 9"),
        (b"", JSON, "a JSON object is required"),
        (b"[]", JSON, "not a JSON object"),
        (b'{"name": "x"}', {"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type"),
        (b'{"name": "x"}', {"Content-Type": "text/plain"}, "Content-Type: application/json"),
        (b'{"\\ud800": 1}', JSON, "unicode"),
    ],
)
def test_a_body_that_is_no_request_is_told_why(
    http: httpx.Client, content: bytes, headers: dict[str, str], message: str
) -> None:
    problem = problem_of(http.post("/jobs", content=content, headers=headers), 422)
    (error,) = problem["errors"]
    assert error["field"] == ""
    assert message in error["message"]


@pytest.mark.parametrize("content", [b'{"name": "\xff"}', b'{"a":' * 100_000])
def test_bytes_that_no_parser_takes_are_a_422(http: httpx.Client, content: bytes) -> None:
    problem = problem_of(http.post("/jobs", content=content, headers=JSON), 422)
    assert "UTF-8, or nested too deeply" in problem["detail"]


@pytest.mark.parametrize("number", ["1" * 5000, "-" + "1" * 5000])
def test_a_number_that_no_parser_takes_is_a_422_that_says_so(
    http: httpx.Client, number: str
) -> None:
    content = f'{{"seed": {number}}}'
    problem = problem_of(http.post("/jobs", content=content, headers=JSON), 422)
    assert "a number in the body has more than 4300 digits" in problem["detail"]


def test_a_body_that_is_too_large_is_a_413_announced_or_not(
    http: httpx.Client, plane: ControlPlane
) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(2 * MAX_BODY_BYTES // 65536):
            yield b" " * 65536

    before = num_jobs(plane)
    announced = http.post("/jobs", content=b" " * (MAX_BODY_BYTES + 1), headers=JSON)
    chunked = http.post("/jobs", content=pieces(), headers=JSON)
    for answer in (announced, chunked):
        assert "send less" in problem_of(answer, 413)["detail"]
    assert num_jobs(plane) == before


def test_a_body_of_more_values_than_any_request_has_is_a_413(http: httpx.Client) -> None:
    content = b'{"labels": [' + b"0," * MAX_VALUES + b"0]}"
    assert (
        "50,000 values"
        in problem_of(http.post("/jobs", content=content, headers=JSON), 413)["detail"]
    )
    content = b'{"labels": [' + b"0," * (MAX_VALUES - 2) + b"0]}"
    problem_of(http.post("/jobs", content=content, headers=JSON), 422)


@pytest.mark.parametrize("path", ["/jobs", "/tokens"])
def test_of_many_fields_at_fault_the_first_are_named(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json={str(number): 0 for number in range(5000)})
    errors = problem_of(answer, 422)["errors"]
    assert len(errors) == MAX_TOLD + 1
    assert errors[-1]["message"].endswith("more are wrong; mend these first")


def test_a_body_of_just_the_limit_is_read(http: httpx.Client) -> None:
    answer = http.post("/jobs", content=b"{}".ljust(MAX_BODY_BYTES), headers=JSON)
    problem_of(answer, 422)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/jobs?limit=0", "query.limit"),
        ("/jobs?status=DONE", "query.status"),
        ("/jobs?cursor=9223372036854775808", "query.cursor"),
        ("/jobs?label=team", "query.label.0"),
        ("/jobs?label=a=1&label=%22=1", "query.label.1"),
        (f"/jobs/{'a' * 65}", "path.job_id"),
    ],
)
def test_a_query_that_is_refused_names_its_field(http: httpx.Client, path: str, field: str) -> None:
    (error,) = problem_of(http.get(path), 422)["errors"]
    assert error["field"] == field


def test_what_does_not_exist_is_a_problem_too(http: httpx.Client) -> None:
    problem_of(http.get("/nowhere"), 404)
    answer = http.delete("/jobs")
    problem_of(answer, 405)
    assert answer.headers["Allow"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "a b"])
def test_a_foreign_host_is_refused_with_its_mend(http: httpx.Client, host: str) -> None:
    answer = http.get("/healthz", headers={"Host": host})
    assert "ALEXNET_ALLOWED_HOSTS" in problem_of(answer, 400)["detail"]


def test_a_standby_reads_and_names_the_leader_to_whoever_writes(
    http: httpx.Client, plane: ControlPlane, request_body: dict[str, Any]
) -> None:
    job_id = http.post("/jobs", json=request_body).json()["id"]
    settings = plane.settings.model_copy(update={"port": free_port()})
    standby = ControlPlane(settings, token=None)
    standby.try_to_lead()
    assert not standby.is_leader
    with serving(standby) as url, httpx.Client(base_url=url, timeout=ANSWERED_WITHIN_S) as second:
        assert second.get(f"/jobs/{job_id}").json()["id"] == job_id
        assert second.get("/readyz").json()["role"] == "standby"
        of_attempt = {"Authorization": "Bearer of-an-attempt"}
        for path, headers in (
            ("/jobs", {}),
            (f"/jobs/{job_id}/cancel", {}),
            (f"/jobs/{job_id}/attempts/1/events", of_attempt),
        ):
            answer = second.post(path, json=request_body, headers=headers)
            problem = problem_of(answer, 503)
            assert plane.settings.advertised_url in problem["detail"]
            assert answer.headers["Retry-After"]
    standby.stop()
    assert plane.store.job(job_id).desired == "run"


def test_a_store_that_is_locked_for_too_long_is_a_503(
    plane: ControlPlane,
    http: httpx.Client,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each request that waits holds one of 40 threads.
    assert BUSY_TIMEOUT_MS <= 5000
    monkeypatch.setattr("service.store.engine.BUSY_TIMEOUT_MS", 10)
    plane.store.close()  # So that the next connection is made with the short time-out.
    before = num_jobs(plane)
    with written_by_another(plane.settings.store_url):
        answer = http.post("/jobs", json=request_body, timeout=30)
    problem = problem_of(answer, 503)
    assert answer.headers["Retry-After"]
    assert "lock" in problem["detail"]
    assert num_jobs(plane) == before
    plane.store.close()


def test_a_store_that_no_leader_has_made_yet_is_a_503(
    settings: Settings, empty_store_url: str
) -> None:
    standby = ControlPlane(settings.model_copy(update={"store_url": empty_store_url}), token=None)
    with serving(standby, port=free_port()) as url:
        problem = problem_of(httpx.get(f"{url}/jobs", timeout=ANSWERED_WITHIN_S), 503)
        assert "the store does not answer" in problem["detail"]
    standby.stop()


def test_the_unforeseen_is_a_500_without_its_inside(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the inside")

    job_in(plane.store, Status.QUEUED, "unforeseen")
    monkeypatch.setattr("service.api.jobs.detail_fields", fail)
    answer = httpx.get(
        f"{plane.settings.advertised_url}/jobs/unforeseen", timeout=ANSWERED_WITHIN_S
    )
    problem_of(answer, 500)
    assert "the inside" not in answer.text
