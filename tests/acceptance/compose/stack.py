"""The containers of docker-compose.yml, as whoever types `docker compose` has them."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from tests.acceptance.compose.engine import missing_programs
from tests.acceptance.compose.processes import execute
from tests.waiting import wait_for

# Grafana has no Debian package: its container is left out.
SERVICES = ("control-plane", "ray-head", "ray-worker", "prometheus")
OVERRIDE = "tests/acceptance/compose/override.yml"


def compose_command() -> list[str] | None:
    """Compose 1.29 or 2, whichever is here."""
    if not missing_programs("docker-compose"):
        return ["docker-compose"]
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ["docker", "compose"] if plugin.returncode == 0 else None


class Stack:
    """One project of compose, on loopback ports of its own."""

    def __init__(self, compose: list[str], environment: Mapping[str, str], project: str) -> None:
        self.ports = dict(zip(SERVICES, _free_ports(len(SERVICES)), strict=True))
        self.project = project
        self._compose = compose
        self._environment = {
            # Without it docker-compose 1.29 asks the docker client for a builder it may not have.
            "COMPOSE_DOCKER_CLI_BUILD": "0",
            **environment,
            "ALEXNET_PORT": str(self.ports["control-plane"]),
            "PROMETHEUS_PORT": str(self.ports["prometheus"]),
        }
        self.api = httpx.Client(base_url=self.url("control-plane"), timeout=20)

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def compose(self, *arguments: object, timeout_s: float) -> str:
        files = ("--file", "docker-compose.yml", "--file", OVERRIDE)
        return execute(
            *(*self._compose, *files, "--project-name", self.project, *arguments),
            timeout_s=timeout_s,
            environment=self._environment,
        )

    def docker(self, *arguments: object, timeout_s: float = 20) -> str:
        return execute("docker", *arguments, timeout_s=timeout_s, environment=self._environment)

    def build(self) -> None:
        self.compose("build", *SERVICES, timeout_s=900)

    def up(self) -> None:
        self.compose("up", "--detach", *SERVICES, timeout_s=120)
        wait_for("the control plane to be ready", self._ready, timeout_s=90)

    def down(self, *arguments: str) -> None:
        self.compose("down", *arguments, timeout_s=120)

    def logs(self) -> str:
        return self.compose("logs", "--no-color", "--tail", 60, timeout_s=30)

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine says of each container, by service."""
        names = self.docker(
            *("ps", "--all", "--quiet"),
            *("--filter", f"label=com.docker.compose.project={self.project}"),
        ).split()
        inspected = json.loads(self.docker("inspect", *names))
        label = "com.docker.compose.service"
        return {container["Config"]["Labels"][label]: container for container in inspected}

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.api.get(f"/jobs/{job_id}").raise_for_status().json())

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask Prometheus, on its published port, for the present value of an expression."""
        answer = httpx.get(
            f"{self.url('prometheus')}/api/v1/query", params={"query": expression}, timeout=20
        ).raise_for_status()
        return list(answer.json()["data"]["result"])

    def _ready(self) -> bool:
        try:
            return self.api.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """Build and start the stack; take it down with all its volumes."""
    try:
        stack.build()
        stack.up()
        yield stack
    except BaseException:
        with contextlib.suppress(AssertionError):
            print(stack.logs())
        raise
    finally:
        stack.api.close()
        stack.down("--volumes")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]
