"""A service of the tests, and the Ray that it has left, where whoever started it is killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.cluster.ray_record import read_record
from tests.acceptance.product import traces
from tests.waiting import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]

_KILLED = """
import sys
from pathlib import Path
from tests.acceptance.product import ControlPlane
from tests.faults.kills.local_cluster import LocalCluster
from tests.last_rites import last_rites
from tests.waiting import wait_for

state, data = map(Path, sys.argv[1:3])

def lives():
    try:
        return LocalCluster(state).live_submissions() == []
    except Exception:
        return False

with last_rites():
    plane = ControlPlane(state, data, ALEXNET_LOCAL_RAY_CPUS="1").start()
    wait_for("its Ray", lives, timeout_s=120)
    if sys.argv[3] == "service":
        plane.kill()
    print("ready", flush=True)
    input()
"""


@pytest.mark.parametrize("dies_before", ["nobody", "service"])
def test_nothing_is_left_of_a_service_and_its_ray_where_its_starter_is_killed(
    tmp_path: Path, dies_before: str
) -> None:
    state = tmp_path / "state"
    before = traces(tmp_path, tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, state, tmp_path, dies_before],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        record = read_record(state / "ray.json")
        assert record is not None
        assert Path(record.temp_dir).is_dir()
        process.send_signal(signal.SIGKILL)

    def left() -> set[str]:
        folder = Path(record.temp_dir)
        found = traces(folder, folder) | traces(tmp_path, folder)
        return {one for one in found - before if one.startswith("process")}

    wait_for("all to go", lambda: not left(), timeout_s=90)
    wait_for("its files to go", lambda: not Path(record.temp_dir).exists(), timeout_s=30)
