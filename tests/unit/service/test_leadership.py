import json
import os
import subprocess
import sys
from pathlib import Path

from service.leadership import Leadership

HOLD = """
import sys
from pathlib import Path
from service.leadership import Leadership
leadership = Leadership(Path(sys.argv[1]), url="http://other")
assert leadership.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_one_leads_and_the_other_knows_whom_to_name(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first, second = Leadership(path, url="http://first"), Leadership(path, url="http://second")
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    assert second.leader() == f"http://first (process {os.getpid()})"
    first.release()
    assert not first.is_leader
    assert second.acquire()
    assert json.loads(second.path.read_text())["url"] == "http://second"
    second.release()


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        standby = Leadership(path, url="http://standby")
        assert not standby.acquire()
        assert standby.leader() == f"http://other (process {holder.pid})"
        holder.kill()
        holder.wait()
        assert standby.acquire()
        standby.release()
