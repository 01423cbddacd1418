"""A Ray for which every submission runs: what a control plane asks, and nothing behind it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.unit.service.stub_server import Answer, Request, StubServer

_NODE = {"node_id": "n", "state": "ALIVE", "resources_total": {"CPU": 2}}


@contextmanager
def pretended_ray() -> Iterator[str]:
    """Give its URL."""
    with StubServer(_answer) as server:
        yield server.url


def _answer(request: Request) -> Answer:
    match request.path.partition("?")[0].strip("/").split("/"):
        case ["api", "version"]:
            told: object = {"ray_version": "pretended"}
        case ["api", "jobs", name]:
            told = {"submission_id": name, "job_id": "01", "status": "RUNNING"}
        case ["api", "jobs"]:
            # None that a control plane would take for another's.
            told = []
        case ["api", "v0", what]:
            told = {"data": {"result": {"result": [_NODE] if what == "nodes" else []}}}
        case _:
            return Answer(404, b"null")
    return Answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
