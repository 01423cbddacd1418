"""A leader whose predecessor on the same machine is frozen, and so still owns the local Ray."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cluster.local_ray import LocalRay
from service.cluster.ray_jobs import RayUnreachableError
from service.control_plane import ControlPlane
from service.settings import Settings

_OWN = """
import sys
from pathlib import Path
from service.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]), url="http://frozen")
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _OWN, str(tmp_path / "ray.lock")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "True\n"
        owner.send_signal(signal.SIGSTOP)
        yield owner
        owner.kill()


def test_it_names_the_frozen_one_and_takes_its_ray_over_when_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: subprocess.Popen[str]
) -> None:
    def start(_: LocalRay) -> None:
        raise RayUnreachableError("the local Ray is starting")

    monkeypatch.setattr(LocalRay, "_replace", start)
    plane = ControlPlane(Settings(state_dir=tmp_path, ray_address=None), token=None)
    plane.try_to_lead()
    assert plane._reconciler is not None
    for _ in range(2):
        plane._tick(plane._reconciler)
        health = plane.health()
        assert health.is_leader
        owner = f"belongs to the control plane http://frozen (process {frozen.pid})"
        assert owner in str(health.ray_trouble)
        assert owner not in health.ray
    frozen.kill()
    frozen.wait()
    plane._tick(plane._reconciler)
    assert plane.health().ray == "the local Ray is starting"
    assert plane._local.ownership.is_held
    plane.stop()
