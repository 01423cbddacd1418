"""A local Ray is reached from this machine alone, and by nobody without its token."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import httpx
import psutil
import pytest

from service.cluster.ray_jobs import RayJobs
from service.cluster.submission import Origin
from tests.bench.service.lone_ray import processes_of
from tests.integration.service.running_ray import running_ray
from tests.waiting import ANSWERED_WITHIN_S, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(180)]

# What another program on the machine may try; it tells of what came of it by a word on a line of
# its own, which no warning of a library is.
_DRIVER = """
import sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
print("LET-IN" if ray.nodes() else "OUT")
"""
# By the calls that Ray's client begins with; the client itself tries for half a minute.
_CLIENT = """
import os, sys, grpc
from ray.core.generated import ray_client_pb2 as messages, ray_client_pb2_grpc as calls
token = os.environ.get("RAY_AUTH_TOKEN")
metadata = [("client_id", "test")] + [("authorization", f"Bearer {token}")] * bool(token)
driver = calls.RayletDriverStub(grpc.insecure_channel(sys.argv[1]))
try:
    driver.KVList(messages.KVListRequest(prefix=b""), metadata=metadata, timeout=20)
except grpc.RpcError as error:
    print(error.code(), error.details())
else:
    print("LET-IN")
"""
_WORKS = """
import time, ray
ray.init(log_to_driver=False)

@ray.remote(num_cpus=1)
def work():
    time.sleep(120)

ray.get(work.remote())
"""


@dataclass(frozen=True)
class Reached:
    """A local Ray that answers."""

    jobs: RayJobs
    state_dir: Path

    @property
    def token(self) -> str:
        return (self.state_dir / "ray-token").read_text().strip()

    @property
    def temp_dir(self) -> Path:
        return Path(json.loads((self.state_dir / "ray.json").read_text())["temp_dir"])

    def listening(self) -> set[tuple[str, int]]:
        """Return the addresses on which its processes take connections, over IP."""
        found = set()
        for process in processes_of(self.state_dir):
            with contextlib.suppress(psutil.Error):
                for one in process.net_connections(kind="inet"):
                    is_udp = one.type is socket.SOCK_DGRAM and not one.raddr
                    if one.status == psutil.CONN_LISTEN or is_udp:
                        found.add((one.laddr.ip, one.laddr.port))
        return found

    def port(self, name: str) -> int:
        """Return a port that Ray has taken by itself, and noted."""
        (found,) = self.temp_dir.glob(f"session_2*/{name}_port_*")
        return int(found.read_text())

    def client_port(self) -> int:
        """Return the port of Ray's client, of which drivers elsewhere make use."""
        (found,) = (
            int(word.removeprefix("--port="))
            for process in processes_of(self.state_dir)
            if "ray.util.client.server" in (words := process.cmdline())
            for word in words
            if word.startswith("--port=")
        )
        return found


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    state_dir = tmp_path_factory.mktemp("ray")
    with running_ray(state_dir, num_cpus=1) as jobs:
        yield Reached(jobs, state_dir)


def test_every_port_is_on_loopback_while_a_job_runs(ray: Reached) -> None:
    before = ray.listening()
    origin = Origin(store_id="test", job_id="test")
    ray.jobs.submit("test-1", [sys.executable, "-c", _WORKS], origin)
    wait_for("its task", lambda: ray.jobs.cluster().holdings, timeout_s=60)
    found = ray.listening()
    # The driver's and the worker's.
    assert len(found) > len(before) > 5
    ray.jobs.stop("test-1")
    for address, port in found:
        host = ip_address(address)
        inner = host.ipv4_mapped if isinstance(host, IPv6Address) else None
        assert (inner or host).is_loopback, f"{address}, port {port}"


@pytest.mark.parametrize(
    ("server", "method", "path"),
    [
        ("dashboard", "GET", "/api/version"),
        ("dashboard", "GET", "/api/jobs/"),
        ("dashboard", "POST", "/api/jobs/"),
        ("dashboard", "GET", "/api/v0/actors"),
        ("dashboard_agent_listen", "POST", "/api/job_agent/jobs/"),
        ("runtime_env_agent", "POST", "/get_or_create_runtime_env"),
    ],
)
def test_http_is_refused_without_the_token_and_with_another(
    ray: Reached, server: str, method: str, path: str
) -> None:
    is_dashboard = server == "dashboard"
    base = ray.jobs.url if is_dashboard else f"http://127.0.0.1:{ray.port(server)}"

    def status(headers: dict[str, str]) -> int:
        with httpx.Client(trust_env=False, timeout=ANSWERED_WITHIN_S) as http:
            return http.request(method, base + path, headers=headers, json={}).status_code

    assert status({}) == httpx.codes.UNAUTHORIZED
    assert status({"Authorization": f"Bearer {'0' * 64}"}) == httpx.codes.FORBIDDEN
    # What is wrong with it is something else.
    refused = {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
    assert status({"Authorization": f"Bearer {ray.token}"}) not in refused


@pytest.mark.parametrize("way", ["driver", "client"])
def test_no_program_gets_in_without_the_token_or_with_another(ray: Reached, way: str) -> None:
    script = _DRIVER if way == "driver" else _CLIENT
    port = ray.port("gcs_server") if way == "driver" else ray.client_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": ray.token}
    for environment, is_let_in in (
        ({"RAY_AUTH_MODE": "disabled"}, False),
        (token | {"RAY_AUTH_TOKEN": "0" * 64}, False),
        (token, True),
    ):
        with _program(script, port, environment, ray.temp_dir) as lines:
            # A driver that is refused tries again for a minute.
            ends = (line.strip() for line in lines)
            told = next((end for end in ends if end == "LET-IN" or "token" in end.lower()), "")
        assert told
        assert (told == "LET-IN") == is_let_in


@contextlib.contextmanager
def _program(
    script: str, port: int, environment: dict[str, str], temp_dir: Path
) -> Iterator[Iterable[str]]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "TMPDIR": str(temp_dir)}
    with subprocess.Popen(
        [sys.executable, "-c", script, f"127.0.0.1:{port}"],
        env=inherited | own | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as program:
        try:
            assert program.stdout is not None
            yield program.stdout
        finally:
            program.kill()
