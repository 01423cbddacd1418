"""How a local Ray is started: its command and environment. Pure, but for finding free ports."""

import shlex
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.cluster.ray_processes import MARK
from service.cluster.warm_process import fork_socket, keeper

# Training keeps its batches in shared memory of its own; Ray's store carries nothing but messages.
OBJECT_STORE_BYTES = 80_000_000


@dataclass(frozen=True, kw_only=True)
class Ports:
    """TCP ports on loopback that are known before it starts; of the others Ray takes free ones."""

    dashboard: int
    """The jobs API, which the dashboard serves."""
    client: int
    autoscaler_metrics: int
    dashboard_metrics: int


@dataclass(frozen=True, kw_only=True)
class RayStart:
    """One start of one local Ray."""

    temp_dir: str
    ports: Ports
    token_path: Path
    num_cpus: int | None
    num_gpus: int | None
    metrics_port: int | None = None
    warm: bool

    def command(self) -> list[str]:
        """Return what to run; it ends when this Ray does."""
        command = [
            # Not the `ray` script: this Python is the one that has Ray.
            *(sys.executable, "-c", "from ray.scripts.scripts import main; main()"),
            *("start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"),
            # 0 means any free port.
            *("--include-dashboard=true", f"--dashboard-port={self.ports.dashboard}"),
            *("--port=0", "--dashboard-agent-listen-port=0"),
            f"--metrics-export-port={self.metrics_port or 0}",
            f"--ray-client-server-port={self.ports.client}",
            f"--temp-dir={self.temp_dir}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            *("--log-style=record", "--log-color=false"),
        ]
        if self.num_cpus is not None:
            command.append(f"--num-cpus={self.num_cpus}")
        if self.num_gpus is not None:
            command.append(f"--num-gpus={self.num_gpus}")
        if self.warm:
            # Beside it in its session, by which it is found; Ray's own number is the shell's, and
            # the keeper is told it, to go with Ray even where that is gone before it looks.
            warm = shlex.join(keeper(self.temp_dir))
            script = f'ALEXNET_WARM_STARTER=$$ {warm} & exec "$@"'
            return ["sh", "-c", script, "sh", *command]
        return command

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return all variables that it is to have, of this process's and its own."""
        kept = {name: value for name, value in inherited.items() if name != "RAY_ADDRESS"}
        return kept | {
            MARK: self.temp_dir,
            # What Ray's helpers and torch put into temporary files goes with the rest, even when
            # they are killed.
            "TMPDIR": self.temp_dir,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
            # Ray turns 127.0.0.1 into the machine's outer address unless clusters are ruled out.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # Ray would start a worker a core in advance for each job: seconds of both cores, for
            # processes that a job's own workers then do not use.
            "RAY_enable_worker_prestart": "0",
            # Nor keep one that has nothing to do: no job takes up another's.
            "RAY_num_workers_soft_limit": "0",
            # Ray would give training way to whatever else runs, by 15 of nice's 20 (docs/LOG.md).
            "RAY_worker_niceness": "0",
            # Fixed numbers otherwise, which a second Ray on the machine would contend for.
            "AUTOSCALER_METRIC_PORT": str(self.ports.autoscaler_metrics),
            "DASHBOARD_METRIC_PORT": str(self.ports.dashboard_metrics),
            # Launchers become ordinary Pythons where nobody listens there.
            "ALEXNET_FORK_SERVER": fork_socket(self.temp_dir),
        }


def free_ports() -> Ports:
    """Return ports that nobody listens on at this moment."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    dashboard, client, autoscaler, metrics = (probe.getsockname()[1] for probe in probes)
    for probe in probes:
        probe.close()
    return Ports(
        dashboard=dashboard,
        client=client,
        autoscaler_metrics=autoscaler,
        dashboard_metrics=metrics,
    )
