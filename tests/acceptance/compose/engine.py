"""A Docker engine: the one that answers, else a private one that leaves nothing behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.compose.processes import execute
from tests.waiting import wait_for

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
TABLES = ("filter", "nat")


class NoEngineError(Exception):
    """No Docker engine answers, and none can be started here."""


def missing_programs(*names: str) -> list[str]:
    return [name for name in names if shutil.which(name) is None]


@contextlib.contextmanager
def engine() -> Iterator[dict[str, str]]:
    """Yield the environment in which `docker` reaches an engine."""
    if missing_programs("docker"):
        raise NoEngineError("docker is not installed (Debian: apt-get install docker.io)")
    if _answers({}):
        yield {}
        return
    if os.geteuid() != 0:
        raise NoEngineError("no Docker engine answers, and only root can start one")
    if missing := missing_programs("dockerd", "iptables", "setpriv"):
        raise NoEngineError(f"no Docker engine answers, and {', '.join(missing)} is not installed")
    # Not in /tmp, which may lie in memory: the images take 8 GB.
    folder = Path(tempfile.mkdtemp(prefix="alexnet-engine-", dir="/var/tmp"))
    try:
        with _network_restored(), _private_engine(folder) as address:
            yield {"DOCKER_HOST": address}
    finally:
        _unmount(folder)
        shutil.rmtree(folder)


def _answers(environment: dict[str, str]) -> bool:
    asked = subprocess.run(
        ["docker", "info"], env={**os.environ, **environment}, capture_output=True, check=False
    )
    return asked.returncode == 0


@contextlib.contextmanager
def _private_engine(folder: Path) -> Iterator[str]:
    address = f"unix://{folder}/docker.sock"
    log = folder / "dockerd.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                # Killed tests must not leave an engine running.
                *("setpriv", "--pdeathsig", "TERM", "dockerd"),
                *("--data-root", folder / "data", "--exec-root", folder / "exec"),
                *("--pidfile", folder / "pid", "--host", address),
                # Any other storage driver would copy 7 GB for each layer.
                *("--storage-driver", "overlay2"),
                # Compose makes its own bridge; builds use the host's network.
                *("--bridge", "none"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def ready() -> bool:
        if process.poll() is not None:
            raise NoEngineError(f"dockerd ended at once: {log.read_text()[-2000:]}")
        return _answers({"DOCKER_HOST": address})

    try:
        wait_for("dockerd to answer", ready, timeout_s=60)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _network_restored() -> Iterator[None]:
    """Take back the packet filter rules and the forwarding that dockerd leaves behind."""
    forwarding = IP_FORWARD.read_text()
    rules = "".join(execute("iptables-save", "--table", table, timeout_s=10) for table in TABLES)
    try:
        yield
    finally:
        execute("iptables-restore", timeout_s=10, stdin=rules)
        IP_FORWARD.write_text(forwarding)


def _unmount(folder: Path) -> None:
    # dockerd leaves the host's network namespace mounted in its folder.
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith(f"{folder}/"):
            execute("umount", mount, timeout_s=10)
