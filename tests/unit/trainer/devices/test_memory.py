from pathlib import Path

import pytest

from trainer.devices import memory
from trainer.devices.memory import RecentOomKills, num_oom_kills, spare_bytes


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_VMSTAT", tmp_path / "vmstat")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_OWN", tmp_path / "own")
    return tmp_path


def test_the_kills_of_the_own_group_count(machine: Path) -> None:
    (machine / "vmstat").write_text("pgfault 9\noom_kill 7\n")
    (machine / "own").write_text("0::/jobs/a\n")
    (machine / "jobs" / "a").mkdir(parents=True)
    (machine / "jobs" / "a" / "memory.events").write_text("low 0\noom 5\noom_kill 2\n")
    assert num_oom_kills() == 2


def test_else_those_of_the_machine_do(machine: Path) -> None:
    (machine / "own").write_text("5:memory:/a\n0::/\n")
    (machine / "vmstat").write_text("pgfault 9\noom_kill 7\n")
    assert num_oom_kills() == 7


def test_what_is_not_told_is_none(machine: Path) -> None:
    assert num_oom_kills() == 0
    (machine / "vmstat").write_text("pgfault 9\n")
    assert num_oom_kills() == 0


def test_only_kills_of_the_last_minute_count(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = 5
    monkeypatch.setattr(memory, "num_oom_kills", lambda: killed)
    kills = RecentOomKills()
    assert kills.count() == 0
    killed = 7
    assert kills.count() == 2
    # Every ten seconds.
    for _ in range(5):
        kills.look()
        assert kills.count() == 2
    kills.look()
    assert kills.count() == 0
    killed = 8
    assert kills.count() == 1


def _tell_machine(machine: Path, *, total: int, available: int) -> None:
    (machine / "meminfo").write_text(
        f"MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable: {available} kB\nHugePages_Total: 0\n"
    )


def _limit(group: Path, limit: object, *, taken: int, files: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{taken}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {files}\nactive_file 0\n")


def test_what_is_to_spare_of_the_machine_leaves_what_ray_leaves(machine: Path) -> None:
    assert spare_bytes() is None
    _tell_machine(machine, total=1000, available=300)
    assert spare_bytes() == pytest.approx((300 - 50) * 1024)


def test_the_narrowest_group_counts_and_files_that_were_read_are_to_spare(machine: Path) -> None:
    _tell_machine(machine, total=1000, available=900)
    (machine / "own").write_text("5:memory:/a\n0::/jobs/a\n")
    _limit(machine / "jobs" / "a", "max", taken=9000, files=0)
    assert spare_bytes() == pytest.approx(850 * 1024)
    _limit(machine / "jobs", 100_000, taken=70_000, files=20_000)
    assert spare_bytes() == pytest.approx(30_000 + 20_000 - 5_000)
    _limit(machine / "jobs" / "a", 50_000, taken=50_000, files=0)
    assert spare_bytes() == pytest.approx(-2_500)
