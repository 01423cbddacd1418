import json
import os
import subprocess
import sys
from pathlib import Path

from service.file_lock import FileLock

HOLD = """
import sys
from pathlib import Path
from service.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]), url="http://other")
assert lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_one_holds_it_and_the_other_knows_whom_to_name(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    first, second = FileLock(path, url="http://first"), FileLock(path, url="http://second")
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    assert second.holder() == f"http://first (process {os.getpid()})"
    first.release()
    assert not first.is_held
    assert second.acquire()
    assert json.loads(second.path.read_text())["url"] == "http://second"
    second.release()


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        second = FileLock(path, url="http://second")
        assert not second.acquire()
        assert second.holder() == f"http://other (process {holder.pid})"
        holder.kill()
        holder.wait()
        assert second.acquire()
        second.release()
