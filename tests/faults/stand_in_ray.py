"""What the service needs of Ray, without Ray: each submission is a process of this machine.

For faults that are not Ray's: a trial has a training job within a second, and nothing else to pay.
"""

import json
import os
import shlex
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.unit.service.stub_server import Answer, Request, StubServer
from tests.warm_python import python

PACE_VARIABLE = "FAULTS_PACE_S"
ROOT = Path(__file__).parents[2]


class StandInRay:
    """Answers as Ray's dashboard does; a context manager, which ends what still runs."""

    def __init__(
        self,
        *,
        pace_s: float = 0.0,
        module: str = "tests.faults.attempt_here",
        prefix: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        num_cpus: int = 2,
    ) -> None:
        """`pace_s`: how long a step takes at least; `num_cpus`: of its one node.

        `module` is run for each submission, by a command that begins with `prefix`; by a fork
        where neither that nor the environment is to hold from its beginning.
        """
        self._module = module
        self._prefix = prefix
        self._python = python(is_warm=not (prefix or environment))
        self._environment = {PACE_VARIABLE: str(pace_s), **(environment or {})}
        self._node = {
            "node_id": "n",
            "state": "ALIVE",
            "resources_total": {"CPU": num_cpus},
        }
        self._lock = threading.Lock()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        """By submission."""
        self._server = StubServer(self._answer)
        self.url = self._server.url

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, trace)
        for process in self.processes.values():
            process.kill()
            process.wait()

    @property
    def settings(self) -> dict[str, str]:
        """What a control plane is to be started with."""
        return {"ALEXNET_RAY_ADDRESS": self.url}

    def living(self) -> list[str]:
        """Return the submissions whose process lives."""
        with self._lock:
            return [name for name, process in self.processes.items() if process.poll() is None]

    def _answer(self, request: Request) -> Answer:
        path = request.path.partition("?")[0]
        with self._lock:
            match [request.method, *path.strip("/").split("/")]:
                case ["GET", "api", "version"]:
                    answer: object = {"ray_version": "a stand-in"}
                case ["GET", "api", "jobs"]:
                    answer = [self._told(name) for name in self.processes]
                case ["POST", "api", "jobs"]:
                    answer = self._submit(json.loads(request.body))
                case ["POST", "api", "jobs", name, "stop"]:
                    self.processes[name].kill()
                    answer = {"stopped": True}
                case ["GET", "api", "jobs", _, "logs"]:
                    answer = {"logs": ""}
                case ["GET", "api", "jobs", name]:
                    answer = self._told(name) if name in self.processes else None
                case ["GET", "api", "v0", what]:
                    rows = [self._node] if what == "nodes" else []
                    answer = {"data": {"result": {"result": rows}}}
        body = json.dumps(answer).encode()
        return Answer(404 if answer is None else 200, body, {"Content-Type": "application/json"})

    def _submit(self, body: Mapping[str, Any]) -> object:
        name = body["submission_id"]
        if name in self.processes:
            return None
        folder = shlex.split(body["entrypoint"])[-1]
        self.processes[name] = subprocess.Popen(
            [*self._prefix, *self._python, "-m", self._module, folder],
            cwd=ROOT,
            env={**os.environ, **self._environment},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        return {"submission_id": name}

    def _told(self, name: str) -> dict[str, Any]:
        status = self.processes[name].poll()
        state = "RUNNING" if status is None else "FAILED" if status else "SUCCEEDED"
        message = None if not status else f"the driver ended with status {status}"
        return {"submission_id": name, "job_id": "01", "status": state, "message": message}
