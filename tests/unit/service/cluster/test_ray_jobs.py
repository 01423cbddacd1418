"""The edge to Ray, against a server on this machine that answers as Ray does, or does not."""

import json
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
import pytest

from service.cluster.ray_jobs import (
    MESSAGE_CHARACTERS,
    RayJob,
    RayJobs,
    RayUnreachableError,
    SilentRayError,
)
from service.jobs.lifecycle import RayState
from tests.unit.service.cluster.ray_stub import ORIGIN, ok, ray_at
from tests.unit.service.conftest import free_port
from tests.unit.service.stub_server import Answer, Request

EVERY_CALL: list[Callable[[RayJobs], Any]] = [
    lambda ray: ray.version(),
    lambda ray: ray.submit("job-1", ["true"], ORIGIN),
    lambda ray: ray.job("job-1"),
    lambda ray: ray.log("job-1"),
    lambda ray: ray.stop("job-1"),
    lambda ray: ray.nodes(),
    lambda ray: ray.live_submissions(),
    lambda ray: ray.cluster(),
    lambda ray: ray.left_groups(),
    lambda ray: ray.forget("job-1"),
]


def test_a_driver_is_submitted_as_one_quoted_line_with_the_token() -> None:
    with ray_at(ok({"submission_id": "job-1"}), token="secret") as asked:
        asked.ray.submit("job-1", ["python", "-m", "trainer", "a folder/$(rm)"], ORIGIN)
    (request,) = asked.requests
    assert (request.method, request.path) == ("POST", "/api/jobs/")
    assert request.headers["authorization"] == "Bearer secret"
    assert json.loads(request.body) == {
        "submission_id": "job-1",
        "entrypoint": "python -m trainer 'a folder/$(rm)'",
        "entrypoint_num_cpus": 0,
        "runtime_env": {
            "env_vars": {
                "RAY_JOB_STOP_SIGNAL": "SIGINT",
                "RAY_JOB_STOP_WAIT_TIME_S": "15",
                "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
                "RAY_COLOR_PREFIX": "0",
            }
        },
        "metadata": {"alexnet_store": "s", "alexnet_job": "job"},
    }


def test_a_submission_that_exists_already_is_no_error() -> None:
    def answer(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(500, b"Traceback ... already exists")
        return ok({"status": "RUNNING"})

    with ray_at(answer) as asked:
        asked.ray.submit("job-1", ["true"], ORIGIN)
    assert [request.path for request in asked.requests] == ["/api/jobs/", "/api/jobs/job-1"]


def test_a_submission_that_ray_refuses_tells_the_end_of_why() -> None:
    def answer(request: Request) -> Answer:
        return Answer(400 if request.method == "POST" else 404, b"x" * 9000 + b" no such env\n")

    with ray_at(answer) as asked, pytest.raises(RayUnreachableError) as refused:
        asked.ray.submit("job-1", ["true"], ORIGIN)
    assert str(refused.value).startswith("Ray refused job-1: 400 x")
    assert str(refused.value).endswith(" no such env")
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    ("answer", "job"),
    [
        (Answer(404, b"no"), RayJob(state=RayState.ABSENT)),
        (ok({"status": "PENDING"}), RayJob(state=RayState.ALIVE)),
        (ok({"status": "RUNNING", "message": ""}), RayJob(state=RayState.ALIVE)),
        (ok({"status": "STOPPED", "message": "m"}), RayJob(state=RayState.ENDED, message="m")),
        (ok({"status": "SUCCEEDED", "message": 5}), RayJob(state=RayState.ENDED, message="5")),
        (
            ok({"status": "FAILED", "driver_exit_code": 81}),
            RayJob(state=RayState.ENDED, exit_code=81),
        ),
        (
            ok({"status": "FAILED", "message": "a" + "z" * MESSAGE_CHARACTERS}),
            RayJob(state=RayState.ENDED, message="z" * MESSAGE_CHARACTERS),
        ),
        (
            ok({"status": "FAILED", "message": "sh: not found\nRunning entrypoint for job a: x"}),
            RayJob(state=RayState.ENDED, message="sh: not found"),
        ),
    ],
)
def test_rays_statuses_come_to_three(answer: Answer, job: RayJob) -> None:
    with ray_at(answer) as asked:
        assert asked.ray.job("job-1") == job


def test_what_a_driver_printed_is_told_without_the_command() -> None:
    printed = "Running entrypoint for job a-1: x\nsh: x: not found\n"
    with ray_at(ok({"logs": printed})) as asked:
        assert asked.ray.log("job-1") == "sh: x: not found"
    assert asked.requests[0].path == "/api/jobs/job-1/logs"


@pytest.mark.parametrize("answer", [Answer(500, b"no"), Answer(200, b"<html>"), ok([]), ok({})])
def test_a_log_that_cannot_be_read_is_no_empty_one(answer: Answer) -> None:
    with ray_at(answer) as asked, pytest.raises(RayUnreachableError):
        asked.ray.log("job-1")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, b"Internal Server Error"),
        Answer(200, b"<html>a proxy's page</html>"),
        ok(["no object"]),
        ok({"status": "DREAMING"}),
        ok({}),
    ],
)
def test_nothing_is_concluded_from_an_answer_that_is_not_rays(answer: Answer) -> None:
    with ray_at(answer) as asked, pytest.raises(RayUnreachableError):
        asked.ray.job("job-1")


def test_the_release_is_told() -> None:
    with ray_at(ok({"ray_version": "2.60.0"})) as asked:
        assert asked.ray.version() == "2.60.0"
    for other in (ok({"version": "of something else"}), ok({"ray_version": None}), Answer(404)):
        with ray_at(other) as asked, pytest.raises(RayUnreachableError):
            asked.ray.version()


@pytest.mark.parametrize("call", EVERY_CALL)
@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_told_with_its_mend(
    call: Callable[[RayJobs], Any], status: int
) -> None:
    with (
        ray_at(Answer(status)) as asked,
        pytest.raises(RayUnreachableError, match=r"RAY_AUTH_TOKEN.*to the cluster's") as told,
    ):
        call(asked.ray)
    assert "127.0.0.1" not in str(told.value)


@pytest.mark.parametrize("call", EVERY_CALL)
def test_a_cluster_that_is_not_there_is_an_outage(call: Callable[[RayJobs], Any]) -> None:
    with closing(RayJobs(f"http://127.0.0.1:{free_port()}", token=None)) as ray:
        with pytest.raises(SilentRayError, match="does not answer") as told:
            call(ray)
        # It may become the message of a job, which its owner reads.
        assert ray.url.removeprefix("http://") not in str(told.value)


@pytest.mark.parametrize("call", EVERY_CALL)
def test_a_cluster_that_hangs_is_an_outage(
    call: Callable[[RayJobs], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TIMEOUT", "SUBMIT_TIMEOUT"):
        monkeypatch.setattr(f"service.cluster.ray_jobs.{name}", httpx.Timeout(0.1))
    release = threading.Event()

    def hang(_: Request) -> Answer:
        release.wait(10)
        return Answer(200)

    with ray_at(hang) as asked:
        with pytest.raises(SilentRayError, match="does not answer"):
            call(asked.ray)
        release.set()


@pytest.mark.parametrize("status", [404, 500])
def test_a_stop_that_ray_does_not_take_is_tried_again_and_no_error(status: int) -> None:
    with ray_at(Answer(status, b"no")) as asked:
        asked.ray.stop("job-1")


def test_neither_proxy_nor_ray_address_leads_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "RAY_ADDRESS"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with ray_at(ok({"ray_version": "2.60.0"})) as asked:
        assert asked.ray.version() == "2.60.0"
