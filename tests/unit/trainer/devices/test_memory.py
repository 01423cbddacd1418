from pathlib import Path

import pytest

from trainer.devices import memory
from trainer.devices.memory import num_oom_kills


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
