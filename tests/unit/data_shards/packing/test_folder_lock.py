import os
import subprocess
import sys
import threading

import pytest

from data_shards.errors import PackError
from data_shards.packing.folder_lock import locked


def test_a_folder_is_held_by_one(tmp_path):
    with (
        locked(tmp_path, "out"),
        pytest.raises(PackError, match="another process is packing into out, or indexing it; wait"),
        locked(tmp_path, "out", wait_s=0),
    ):
        pass
    with locked(tmp_path, "out", wait_s=0):
        pass


def test_a_folder_is_held_until_the_last_who_inherited_it_ends(tmp_path):
    with locked(tmp_path, "out") as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock]
        )
    try:
        with pytest.raises(PackError), locked(tmp_path, "out", wait_s=0.1):
            pass
        # As the packers of a run that was killed, it ends while another waits.
        assert child.stdin is not None
        threading.Timer(0.2, child.stdin.close).start()
        with locked(tmp_path, "out", wait_s=60):
            pass
    finally:
        child.kill()
        child.wait()


def test_other_children_do_not_inherit_it(tmp_path):
    with locked(tmp_path, "out") as lock:
        assert not os.get_inheritable(lock)
