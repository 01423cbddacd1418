from pathlib import Path

import pytest

from trainer.devices import memory
from trainer.devices.memory import RecentOomKills, num_oom_kills


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_VMSTAT", tmp_path / "vmstat")
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
