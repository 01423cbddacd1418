"""A server on this machine that answers as a Ray does, or does not."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from service.cluster.ray_jobs import RayJobs
from service.cluster.submission import Origin
from tests.unit.service.stub_server import Answer, Request, StubServer

ORIGIN = Origin(store_id="s", job_id="job")


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
