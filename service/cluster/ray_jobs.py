"""The edge to a Ray cluster: its documented REST API for jobs and nodes, over HTTP.

Ray's own JobSubmissionClient speaks the same API without timeouts, lets RAY_ADDRESS override the
address it is given, and costs importing ray (docs/decisions/0004-ray-over-rest.md).
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx

from service.cluster.ray_log import end_of_log, without_command
from service.cluster.submission import LeftGroup, Origin, Submission
from service.jobs.lifecycle import RayState
from service.scheduling.placement import Node
from service.scheduling.room import Cluster, Holding

TIMEOUT = httpx.Timeout(10.0, connect=3.0)
# Submitting waits until Ray has an agent to run the driver under.
SUBMIT_TIMEOUT = httpx.Timeout(60.0, connect=3.0)
# Train's driver handles SIGINT only (ray#40185) and ends its workers before it goes.
STOP_ENVIRONMENT = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "15"}
# Attempts print into a log of their own: nothing is printed twice there, and nothing coloured.
LOG_ENVIRONMENT = {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0", "RAY_COLOR_PREFIX": "0"}
_STATES = {
    "PENDING": RayState.ALIVE,
    "RUNNING": RayState.ALIVE,
    "STOPPED": RayState.ENDED,
    "SUCCEEDED": RayState.ENDED,
    "FAILED": RayState.ENDED,
}
_GPU_TYPE = "accelerator_type:"
# Of a dead driver's log, this much tells why.
MESSAGE_CHARACTERS = 2000


Row = TypeVar("Row")


class RayUnreachableError(Exception):
    """Ray does not answer, or not as Ray does."""


class SilentRayError(RayUnreachableError):
    """Ray cannot be connected to, or was waited for in vain."""


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """What Ray says of one submission."""

    state: RayState
    message: str | None = None
    exit_code: int | None = None
    """Of its driver; None: it lives, was killed, or Ray does not tell."""


class RayJobs:
    """A client of one cluster. Every call blocks and raises RayUnreachableError on an outage."""

    def __init__(self, url: str, *, token: str | None, python: Sequence[str] = ()) -> None:
        """`python`: what its drivers and workers run under; empty: what they would anyway."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        # The cluster is named by the settings alone: no proxy, no .netrc from the environment.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False)
        self.url = url
        self._python = tuple(python)
        self._submissions: Mapping[str, str] = {}
        """By Ray's number of a job, which does not change: of those that hold anything."""

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def version(self) -> str:
        """Return the release that runs there."""
        release = _object(self._ask("GET", "/api/version")).get("ray_version")
        if not isinstance(release, str):
            raise RayUnreachableError("what answers at Ray's address is no Ray")
        return release

    def submit(self, submission_id: str, command: Sequence[str], origin: Origin | None) -> None:
        """Start a driver, unless a submission of that id exists already.

        `command` begins with the Python to run, in place of which this cluster may have its own.
        `origin` is None of what is no attempt.
        """
        runtime_env: dict[str, Any] = {"env_vars": STOP_ENVIRONMENT | LOG_ENVIRONMENT}
        if self._python:
            runtime_env["py_executable"] = shlex.join(self._python)
            command = [*self._python, *command[1:]]
        body = {
            "submission_id": submission_id,
            "entrypoint": shlex.join(command),
            "entrypoint_num_cpus": 0,
            "runtime_env": runtime_env,
            "metadata": {} if origin is None else origin.metadata(),
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
        code = document.get("driver_exit_code")
        return RayJob(
            state=state,
            message=_message(document.get("message")),
            exit_code=code if isinstance(code, int) else None,
        )

    def log(self, submission_id: str) -> str:
        """Return what a driver printed outside of its attempt's log, of much only the end."""
        try:
            with self._http.stream("GET", f"/api/jobs/{submission_id}/logs") as answer:
                _check_token(answer)
                if not answer.is_success:
                    raise RayUnreachableError(f"Ray answered {answer.status_code} for a log")
                return end_of_log(answer.iter_bytes())
        except httpx.HTTPError as error:
            raise _silent(error) from error
        except ValueError as error:
            raise RayUnreachableError(f"Ray's answer for a log cannot be read: {error}") from error

    def live_submissions(self) -> list[Submission]:
        """Return the submissions that wait to start or live, whoever made them."""
        return [submission for _, submission in self._submissions_that_are(RayState.ALIVE)]

    def left_groups(self) -> list[LeftGroup]:
        """Return the placement groups of submissions that have ended, whoever made them.

        Ray removes them seconds after. It forgets one that its driver, while it was killed, was
        just asking for.
        """
        groups = self._read("placement_groups", _creator, ("state", "!=", "REMOVED"))
        if not groups:
            return []
        ended = dict(self._submissions_that_are(RayState.ENDED))
        return [
            LeftGroup(id=group, submission=ended[ray_job])
            for group, ray_job in groups
            if ray_job in ended
        ]

    def forget(self, submission_id: str) -> None:
        """Have Ray forget a driver that has ended, so that one may be submitted by its name."""
        self._ask("DELETE", f"/api/jobs/{submission_id}")

    def stop(self, submission_id: str) -> None:
        """Ask a driver to go; it is gone when `job` says so."""
        self._ask("POST", f"/api/jobs/{submission_id}/stop")

    def nodes(self) -> list[Node]:
        """Return the nodes that live, with what they have in all."""
        return [node for node, state in self._read("nodes", _node) if state == "ALIVE"]

    def cluster(self) -> Cluster:
        """Return the nodes that live, and what is held of them, whoever holds it.

        That is what Ray has reserved or given at this moment: bundles of placement groups, and
        actors and tasks beside them. (What `ray status` tells is up to 6 s old, measured.) Ray's
        REST API does not tell which nodes are being drained.
        """
        nodes = self.nodes()
        groups = self._read("placement_groups", _group, ("state", "!=", "REMOVED"))
        actors = self._read("actors", _process, ("state", "=", "ALIVE"))
        runs = (("state", "=", "RUNNING"), ("type", "=", "NORMAL_TASK"))
        tasks = self._read("tasks", _process, *runs)
        bundles = [bundles for _, bundles in groups]
        waiting = {waits for waits, _ in groups if waits is not None}
        holdings = [one for some in (*bundles, *actors, *tasks) for one in some]
        names = self._name({one.holder for one in holdings} | waiting)
        return Cluster(
            nodes=nodes,
            holdings=[replace(one, holder=names.get(one.holder, one.holder)) for one in holdings],
            waiting=frozenset(names.get(one, one) for one in waiting),
        )

    def _name(self, ray_jobs: set[str]) -> Mapping[str, str]:
        """Return the submission that each of Ray's jobs comes of, where there is one."""
        known = {job: self._submissions[job] for job in ray_jobs if job in self._submissions}
        if len(known) < len(ray_jobs):
            answer = self._ask("GET", "/api/jobs/")
            try:
                rows = [(row["job_id"], row["submission_id"]) for row in answer.json()]
            except (LookupError, TypeError, ValueError) as error:
                raise _unreadable("jobs", error) from error
            # Who runs a driver by hand is known by Ray's number alone.
            known = {job: submission or job for job, submission in rows if job in ray_jobs}
        self._submissions = known
        return known

    def _submissions_that_are(self, state: RayState) -> list[tuple[str | None, Submission]]:
        """Return each with Ray's number of it, which it has once its driver has begun."""
        answer = self._ask("GET", "/api/jobs/")
        try:
            return [
                (
                    row.get("job_id"),
                    Submission(
                        id=row["submission_id"], origin=Origin.of_metadata(row.get("metadata"))
                    ),
                )
                for row in answer.json()
                if row["submission_id"] and _STATES.get(row["status"]) is state
            ]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise _unreadable("jobs", error) from error

    def _read(
        self, what: str, parse: Callable[[Any], Row], *filters: tuple[str, str, str]
    ) -> list[Row]:
        """Read a list of Ray's state API; a filter is a field, a predicate and a value."""
        query: dict[str, Any] = {"detail": "true", "limit": "10000"}
        if filters:
            names = ("filter_keys", "filter_predicates", "filter_values")
            query |= dict(zip(names, zip(*filters, strict=True), strict=True))
        document = _object(self._ask("GET", f"/api/v0/{what}", params=query))
        try:
            return [parse(row) for row in document["data"]["result"]["result"]]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise _unreadable(what.replace("_", " "), error) from error

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise _silent(error) from error
        _check_token(answer)
        return answer


def _silent(error: httpx.HTTPError) -> SilentRayError:
    return SilentRayError(f"Ray does not answer: {error!r}")


def _check_token(answer: httpx.Response) -> None:
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise RayUnreachableError(
            f"Ray refuses the token ({answer.status_code}); "
            "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's"
        )


def _message(told: object) -> str | None:
    """Return the end of what Ray tells."""
    return without_command(str(told or ""))[-MESSAGE_CHARACTERS:] or None


def _object(answer: httpx.Response) -> Mapping[str, Any]:
    if answer.is_success:
        try:
            document = answer.json()
        except ValueError:
            document = None
        if isinstance(document, dict):
            return document
    raise RayUnreachableError(f"Ray answered {answer.status_code}: {answer.text[:200].strip()}")


def _unreadable(listed: str, error: Exception) -> RayUnreachableError:
    return RayUnreachableError(f"Ray's list of {listed} cannot be read: {error!r}")


def _node(row: Mapping[str, Any]) -> tuple[Node, str]:
    total = row["resources_total"]
    num_cpus, num_gpus = _amounts(total)
    # A node has GPUs of one type, which is told as a resource of which there is one.
    types = [name.removeprefix(_GPU_TYPE) for name in total if name.startswith(_GPU_TYPE)]
    node = Node(
        id=str(row["node_id"]),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        gpu_type=types[0] if len(types) == 1 and num_gpus else None,
        memory_bytes=int(total["memory"]) if "memory" in total else None,
    )
    return node, row["state"]


def _group(group: Mapping[str, Any]) -> tuple[str | None, list[Holding]]:
    """Return who waits for it, if anyone does, and what is held by it."""
    ray_job = group["creator_job_id"]
    # In a group that waits, or that is placed anew, some have no node.
    placed = [bundle for bundle in group["bundles"] if bundle["node_id"]]
    held = [_holding(bundle["node_id"], ray_job, bundle["unit_resources"]) for bundle in placed]
    return ray_job if len(placed) < len(group["bundles"]) else None, held


def _creator(group: Mapping[str, Any]) -> tuple[str, str]:
    return str(group["placement_group_id"]), str(group["creator_job_id"])


def _process(row: Mapping[str, Any]) -> list[Holding]:
    # What runs in a bundle has what the bundle holds.
    if row["placement_group_id"] or not row["node_id"]:
        return []
    holding = _holding(row["node_id"], row["job_id"], row["required_resources"] or {})
    return [holding] if holding.num_cpus or holding.num_gpus else []


def _holding(node_id: str, ray_job: str, resources: Mapping[str, Any]) -> Holding:
    num_cpus, num_gpus = _amounts(resources)
    return Holding(node_id=node_id, holder=ray_job, num_cpus=num_cpus, num_gpus=num_gpus)


def _amounts(resources: Mapping[str, Any]) -> tuple[float, float]:
    return float(resources.get("CPU", 0)), float(resources.get("GPU", 0))
