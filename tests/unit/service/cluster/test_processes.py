"""Which process a number stands for."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from service.cluster.processes import start_of
from tests.unit.service.conftest import wait_until


def test_a_step_of_the_clock_leaves_the_start_of_a_process_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = start_of(os.getpid())
    assert before is not None
    boot, ticks = before.split()
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    per_second = os.sysconf("SC_CLK_TCK")
    started_at = psutil.Process().create_time()
    assert psutil.boot_time() + int(ticks) / per_second == pytest.approx(started_at, abs=0.1)
    # The clock, and with it what the kernel says of the time of its start.
    monkeypatch.setattr(psutil, "boot_time", lambda: 0.0)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: 0.0)
    assert start_of(os.getpid()) == before


def test_a_name_with_spaces_and_brackets_is_passed_over(tmp_path: Path) -> None:
    python = tmp_path / "a) S 1 (b"
    python.symlink_to(sys.executable)
    with subprocess.Popen([python, "-c", "input()"], stdin=subprocess.PIPE) as process:
        name = Path(f"/proc/{process.pid}/comm")
        wait_until(lambda: name.read_text() == "a) S 1 (b\n")
        ours, other = start_of(os.getpid()), start_of(process.pid)
        assert ours is not None
        assert other is not None
        assert int(other.split()[1]) >= int(ours.split()[1])
        process.communicate(b"\n")
    assert start_of(process.pid) is None
