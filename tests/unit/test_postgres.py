"""The PostgreSQL that tests run."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.postgres import programs_folder
from tests.waiting import wait_for

_KILLED = """
from tests.postgres import running_postgres
with running_postgres() as server:
    print(server.folder, flush=True)
    input()
"""


@pytest.mark.skipif(programs_folder() is None, reason="PostgreSQL is not installed")
def test_a_server_and_its_files_are_gone_where_whoever_started_it_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        server = psutil.Process(int((folder / "data/postmaster.pid").read_text().split()[0]))
        process.send_signal(signal.SIGKILL)
    wait_for("the server to go", lambda: not server.is_running(), timeout_s=30)
    wait_for("its files to go", lambda: not folder.exists(), timeout_s=30)
