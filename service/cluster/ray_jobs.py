"""The edge to a Ray cluster: its documented REST API for jobs and nodes, over HTTP.

Ray's own JobSubmissionClient speaks the same API without timeouts, lets RAY_ADDRESS override the
address it is given, and costs importing ray (docs/decisions/0004-ray-over-rest.md).
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from service.jobs.lifecycle import RayState
from service.scheduling.placement import Node

TIMEOUT = httpx.Timeout(10.0, connect=3.0)
# Submitting waits until Ray has an agent to run the driver under.
SUBMIT_TIMEOUT = httpx.Timeout(60.0, connect=3.0)
# Train's driver handles SIGINT only (ray#40185) and ends its workers before it goes.
STOP_ENVIRONMENT = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "15"}
_STATES = {
    "PENDING": RayState.ALIVE,
    "RUNNING": RayState.ALIVE,
    "STOPPED": RayState.ENDED,
    "SUCCEEDED": RayState.ENDED,
    "FAILED": RayState.ENDED,
}
# Of a dead driver's log, this much tells why.
MESSAGE_CHARACTERS = 2000


class RayUnreachableError(Exception):
    """Ray does not answer, or not as Ray does."""


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """What Ray says of one submission."""

    state: RayState
    message: str | None = None


class RayJobs:
    """A client of one cluster. Every call blocks and raises RayUnreachableError on an outage."""

    def __init__(self, url: str, *, token: str | None, python: Sequence[str] = ()) -> None:
        """`python`: what its drivers and workers run under; empty: what they would anyway."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        # The cluster is named by the settings alone: no proxy, no .netrc from the environment.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False)
        self.url = url
        self._python = tuple(python)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def version(self) -> str:
        """Return the release that runs there."""
        release = _object(self._ask("GET", "/api/version")).get("ray_version")
        if not isinstance(release, str):
            raise RayUnreachableError(f"what answers at {self.url} is no Ray")
        return release

    def submit(self, submission_id: str, command: Sequence[str]) -> None:
        """Start a driver, unless a submission of that id exists already.

        `command` begins with the Python to run, in place of which this cluster may have its own.
        """
        runtime_env: dict[str, Any] = {"env_vars": STOP_ENVIRONMENT}
        if self._python:
            runtime_env["py_executable"] = shlex.join(self._python)
            command = [*self._python, *command[1:]]
        body = {
            "submission_id": submission_id,
            "entrypoint": shlex.join(command),
            "entrypoint_num_cpus": 0,
            "runtime_env": runtime_env,
        }
        answer = self._ask("POST", "/api/jobs/", json=body, timeout=SUBMIT_TIMEOUT)
        # Ray answers a duplicate with a traceback; whether it is one is told by asking.
        if answer.is_error and self.job(submission_id).state is RayState.ABSENT:
            raise RayUnreachableError(
                f"Ray refused {submission_id}: {answer.status_code} {answer.text[-500:].strip()}"
            )

    def job(self, submission_id: str) -> RayJob:
        """Say how a submission stands."""
        answer = self._ask("GET", f"/api/jobs/{submission_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return RayJob(state=RayState.ABSENT)
        document = _object(answer)
        state = _STATES.get(str(document.get("status")))
        if state is None:
            raise RayUnreachableError(f"Ray says that {submission_id} is {document.get('status')}")
        message = document.get("message")
        return RayJob(state=state, message=str(message)[-MESSAGE_CHARACTERS:] if message else None)

    def stop(self, submission_id: str) -> None:
        """Ask a driver to go; it is gone when `job` says so."""
        self._ask("POST", f"/api/jobs/{submission_id}/stop")

    def nodes(self) -> list[Node]:
        """Return the nodes that live, with what they have in all."""
        query = {"detail": "true", "limit": "10000"}
        document = _object(self._ask("GET", "/api/v0/nodes", params=query))
        try:
            rows = document["data"]["result"]["result"]
            return [_node(row) for row in rows if row["state"] == "ALIVE"]
        except (LookupError, TypeError, ValueError) as error:
            raise RayUnreachableError(f"Ray's list of nodes cannot be read: {error!r}") from error

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise RayUnreachableError(f"Ray at {self.url} does not answer: {error!r}") from error
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise RayUnreachableError(
                f"Ray at {self.url} refuses the token ({answer.status_code}); "
                "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's"
            )
        return answer


def _object(answer: httpx.Response) -> Mapping[str, Any]:
    if answer.is_success:
        try:
            document = answer.json()
        except ValueError:
            document = None
        if isinstance(document, dict):
            return document
    raise RayUnreachableError(f"Ray answered {answer.status_code}: {answer.text[:200].strip()}")


def _node(row: Mapping[str, Any]) -> Node:
    resources = row["resources_total"]
    return Node(
        id=str(row["node_id"]),
        num_cpus=float(resources.get("CPU", 0)),
        num_gpus=float(resources.get("GPU", 0)),
    )
