"""What Ray's lists tell of nodes, submissions, and who holds what of them."""

import httpx
import pytest

from service.cluster.ray_jobs import RayUnreachableError
from service.cluster.submission import LeftGroup, Submission
from service.scheduling.placement import Node
from service.scheduling.room import Cluster, Holding
from tests.unit.service.cluster.ray_stub import ORIGIN, ok, ray_at
from tests.unit.service.stub_server import Answer, Request


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
