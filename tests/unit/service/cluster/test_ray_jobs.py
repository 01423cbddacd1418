"""The edge to Ray, against a server on this machine that answers as Ray does, or does not."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
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
from service.cluster.submission import LeftGroup, Origin, Submission
from service.jobs.lifecycle import RayState
from service.scheduling.placement import Node
from service.scheduling.room import Cluster, Holding
from tests.unit.service.conftest import free_port
from tests.unit.service.stub_server import Answer, Request, StubServer


def ok(document: object) -> Answer:
    return Answer(200, json.dumps(document).encode())


@dataclass(frozen=True)
class Asked:
    ray: RayJobs
    requests: list[Request]


@contextmanager
def ray_at(
    answer: Answer | Callable[[Request], Answer], token: str | None = None
) -> Iterator[Asked]:
    """Give a client of a server that answers so, and what it was asked."""
    server = StubServer(answer if callable(answer) else lambda _: answer)
    with server as stub, closing(RayJobs(stub.url, token=token)) as ray:
        yield Asked(ray, stub.requests)


ORIGIN = Origin(store_id="s", job_id="job")
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


def test_nodes_that_live_are_listed_with_what_they_have() -> None:
    rows = [
        {"node_id": "a", "state": "ALIVE", "resources_total": {"CPU": 2.0, "GPU": 4.0, "x": 1}},
        {"node_id": "b", "state": "DEAD", "resources_total": {"CPU": 64.0}},
        {"node_id": "c", "state": "ALIVE", "resources_total": {}},
        {
            "node_id": "d",
            "state": "ALIVE",
            "resources_total": {"GPU": 1.0, "accelerator_type:A100": 1.0, "memory": 2.5e10},
        },
        {
            "node_id": "e",
            "state": "ALIVE",
            "resources_total": {"GPU": 1.0, "accelerator_type:T4": 1.0, "accelerator_type:L4": 1.0},
        },
    ]
    with ray_at(ok({"data": {"result": {"result": rows}}})) as asked:
        assert asked.ray.nodes() == [
            Node(id="a", num_cpus=2.0, num_gpus=4.0),
            Node(id="c", num_cpus=0.0, num_gpus=0.0),
            Node(
                id="d",
                num_cpus=0.0,
                num_gpus=1.0,
                gpu_type="A100",
                memory_bytes=25_000_000_000,
            ),
            # Of two names nobody knows which is whose.
            Node(id="e", num_cpus=0.0, num_gpus=1.0),
        ]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"data": {"result": {}}},
        {"data": {"result": {"result": [{"node_id": "a"}]}}},
        {"data": {"result": {"result": 5}}},
        {"data": {"result": {"result": [None]}}},
        {
            "data": {
                "result": {
                    "result": [
                        {"node_id": "a", "state": "ALIVE", "resources_total": {"CPU": "two"}}
                    ]
                }
            }
        },
    ],
)
def test_a_list_of_nodes_that_cannot_be_read_is_no_empty_cluster(document: object) -> None:
    with (
        ray_at(ok(document)) as asked,
        pytest.raises(RayUnreachableError, match="list of nodes cannot be read"),
    ):
        asked.ray.nodes()


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


def test_submissions_that_live_are_listed() -> None:
    rows = [
        {"submission_id": "a-1", "status": "SUCCEEDED"},
        {"submission_id": "a-2", "status": "RUNNING", "metadata": ORIGIN.metadata()},
        {"submission_id": "b-1", "status": "PENDING", "metadata": None},
        {"submission_id": "c-1", "status": "PENDING", "metadata": {"alexnet_job": "c", "x": 1}},
        {"submission_id": None, "status": "RUNNING"},
    ]
    with ray_at(ok(rows)) as asked:
        assert asked.ray.live_submissions() == [
            Submission(id="a-2", origin=ORIGIN),
            Submission(id="b-1", origin=None),
            Submission(id="c-1", origin=None),
        ]


@pytest.mark.parametrize("rows", [[None], [{"status": "RUNNING"}], 5])
def test_a_list_of_submissions_that_cannot_be_read_is_not_empty(rows: object) -> None:
    with ray_at(ok(rows)) as asked, pytest.raises(RayUnreachableError, match="list of jobs"):
        asked.ray.live_submissions()


NODES = [
    {"node_id": "a", "state": "ALIVE", "resources_total": {"CPU": 8.0, "GPU": 2.0}},
    {"node_id": "gone", "state": "DEAD", "resources_total": {"CPU": 8.0}},
]
GROUPS = [
    {
        "creator_job_id": "01000000",
        "bundles": [
            {"node_id": "a", "unit_resources": {"CPU": 1.0, "GPU": 2.0}},
            # Of a group that waits, or is placed anew.
            {"node_id": None, "unit_resources": {"CPU": 1.0, "GPU": 2.0}},
        ],
    },
    {
        "creator_job_id": "03000000",
        "bundles": [{"node_id": "", "unit_resources": {"CPU": 1.0}}],
    },
    {
        "creator_job_id": "02000000",
        "bundles": [{"node_id": "a", "unit_resources": {"CPU": 0.25}}],
    },
]
IN_A_BUNDLE = {"placement_group_id": "g", "node_id": "a", "required_resources": {"CPU": 1.0}}
ACTORS = [
    {**IN_A_BUNDLE, "job_id": "01000000"},
    {
        "placement_group_id": None,
        "node_id": "a",
        "job_id": "02000000",
        "required_resources": {"CPU": 0.5, "memory": 1e9},
    },
    # It holds nothing, or waits for a node.
    {"placement_group_id": None, "node_id": "a", "job_id": "01000000", "required_resources": {}},
    {
        "placement_group_id": None,
        "node_id": "",
        "job_id": "01000000",
        "required_resources": {"CPU": 4.0},
    },
]
TASKS = [
    {
        "placement_group_id": None,
        "node_id": "a",
        "job_id": "03000000",
        "required_resources": {"CPU": 2.0},
    },
    {"placement_group_id": None, "node_id": "a", "job_id": "02000000", "required_resources": None},
]
RAY_JOBS = [
    {"job_id": "01000000", "submission_id": "a-1"},
    {"job_id": "02000000", "submission_id": None},
    {"job_id": None, "submission_id": "waits-1"},
]


def listed(request: Request) -> Answer:
    """Answer as a Ray on which an attempt, a driver by hand and somebody's task hold a node."""
    path = httpx.URL(request.path).path
    if path == "/api/jobs/":
        return ok(RAY_JOBS)
    rows = {"nodes": NODES, "placement_groups": GROUPS, "actors": ACTORS, "tasks": TASKS}
    return ok({"data": {"result": {"result": rows[path.removeprefix("/api/v0/")]}}})


def test_what_is_held_is_counted_once_and_told_by_the_submission_that_holds_it() -> None:
    with ray_at(listed) as asked:
        seen = asked.ray.cluster()
        asked_before = len(asked.requests)
        assert asked.ray.cluster() == seen
    assert seen == Cluster(
        nodes=[Node(id="a", num_cpus=8.0, num_gpus=2.0)],
        holdings=[
            Holding(node_id="a", holder="a-1", num_cpus=1.0, num_gpus=2.0),
            Holding(node_id="a", holder="02000000", num_cpus=0.25, num_gpus=0.0),
            Holding(node_id="a", holder="02000000", num_cpus=0.5, num_gpus=0.0),
            # Ray has forgotten whose that is.
            Holding(node_id="a", holder="03000000", num_cpus=2.0, num_gpus=0.0),
        ],
        waiting=frozenset({"a-1", "03000000"}),
    )
    queries = {
        httpx.URL(one.path).path: dict(httpx.URL(one.path).params.multi_items())
        for one in asked.requests[:asked_before]
    }
    assert queries["/api/v0/placement_groups"]["filter_keys"] == "state"
    assert queries["/api/v0/placement_groups"]["filter_predicates"] == "!="
    assert queries["/api/v0/placement_groups"]["filter_values"] == "REMOVED"
    tasks = next(one for one in asked.requests if "/tasks" in one.path)
    params = httpx.URL(tasks.path).params
    assert params.get_list("filter_keys") == ["state", "type"]
    assert params.get_list("filter_values") == ["RUNNING", "NORMAL_TASK"]


def test_groups_of_submissions_that_have_ended_are_left() -> None:
    ended = {"01": "FAILED", "02": "RUNNING", "03": "SUCCEEDED"}
    jobs = [
        {
            "job_id": number,
            "submission_id": f"a-{number}",
            "status": status,
            "metadata": ORIGIN.metadata(),
        }
        for number, status in ended.items()
    ]
    groups: list[dict[str, object]] = [
        {"placement_group_id": f"group-{number}", "creator_job_id": number, "bundles": []}
        for number in ("01", "02", "by hand")
    ]

    def answer(request: Request) -> Answer:
        if request.path == "/api/jobs/":
            return ok(jobs)
        return ok({"data": {"result": {"result": groups}}})

    with ray_at(answer) as asked:
        assert asked.ray.left_groups() == [
            LeftGroup(id="group-01", submission=Submission(id="a-01", origin=ORIGIN))
        ]


def test_names_of_holders_that_are_known_are_not_asked_for_again() -> None:
    known = [*RAY_JOBS, {"job_id": "03000000", "submission_id": None}]

    def answer(request: Request) -> Answer:
        return ok(known) if request.path == "/api/jobs/" else listed(request)

    with ray_at(answer) as asked:
        for _ in range(2):
            asked.ray.cluster()
        assert [one.path for one in asked.requests].count("/api/jobs/") == 1


@pytest.mark.parametrize("what", ["placement_groups", "actors", "tasks"])
def test_a_list_that_cannot_be_read_is_no_empty_one(what: str) -> None:
    def answer(request: Request) -> Answer:
        if f"/{what}" in request.path:
            return ok({"data": {"result": {"result": [{"state": "ALIVE"}]}}})
        return listed(request)

    told = f"list of {what.replace('_', ' ')} cannot be read"
    with ray_at(answer) as asked, pytest.raises(RayUnreachableError, match=told):
        asked.ray.cluster()
