"""A local Ray: begun, known again, and owned by one."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.cluster import local_ray
from service.cluster.local_ray import LocalRay, LocalRayError
from service.cluster.ray_jobs import RayUnreachableError
from service.cluster.ray_record import Record, write_record
from service.cluster.ray_start import RayStart
from service.cluster.warm_process import code_sha256


class Sleeper(LocalRay):
    """Starts a process that never answers instead of a Ray."""

    def _command(self, _start: RayStart) -> list[str]:
        return ["sleep", "60"]

    def forget(self) -> None:
        """Let go of it as a process does that is killed; what it started goes on."""
        self.ownership.release()
        if self._child is not None:
            self._child.returncode = 0


@pytest.fixture
def sleeper_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Sleeper]]:
    monkeypatch.setattr(local_ray, "STOP_GRACE_S", 0.1)
    sleepers = []

    def make(url: str) -> Sleeper:
        sleepers.append(Sleeper(tmp_path, url=url, num_cpus=None, num_gpus=None))
        return sleepers[-1]

    yield make
    for sleeper in sleepers:
        sleeper.forget()
    last = make("http://last")
    last.stop()
    last.forget()


def begin(ray: LocalRay) -> int:
    """Start or adopt it; return its process."""
    with pytest.raises(RayUnreachableError, match="is starting"):
        ray.jobs()
    pid = json.loads(ray.ownership.path.with_name("ray.json").read_text())["pid"]
    assert isinstance(pid, int)
    assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return pid


def test_a_living_ray_is_adopted_though_the_clock_was_set(
    sleeper_at: Callable[[str], Sleeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sleeper_at("http://first")
    pid = begin(first)
    first.forget()
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: 0.0)
    assert begin(sleeper_at("http://second")) == pid


@pytest.mark.parametrize("change", ["tick", "boot", "none"])
def test_a_process_of_another_start_that_has_its_number_is_not_taken_for_it(
    sleeper_at: Callable[[str], Sleeper], tmp_path: Path, change: str
) -> None:
    first = sleeper_at("http://first")
    pid = begin(first)
    first.forget()
    record = tmp_path / "ray.json"
    document = json.loads(record.read_text())
    boot, ticks = document["start"].split()
    starts = {"tick": f"{boot} {int(ticks) + 1}", "boot": f"another {ticks}", "none": None}
    record.write_text(json.dumps(document | {"start": starts[change]}))
    assert begin(sleeper_at("http://second")) != pid


def test_a_ray_that_another_process_owns_is_neither_used_nor_stopped(
    sleeper_at: Callable[[str], Sleeper],
) -> None:
    owner, other = sleeper_at("http://owner"), sleeper_at("http://other")
    pid = begin(owner)
    for use in (other.jobs, other.stop):
        with pytest.raises(LocalRayError, match=r"http://owner .*ALEXNET_STATE_DIR"):
            use()
    assert begin(owner) == pid


def test_who_gives_it_up_while_its_disk_hangs_starts_none(
    sleeper_at: Callable[[str], Sleeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = sleeper_at("http://first")

    def hang(*given: Any) -> None:
        write_record(*given)
        ray.ownership.give_up()

    with monkeypatch.context() as patch:
        patch.setattr(local_ray, "write_record", hang)
        with pytest.raises(LocalRayError, match="has given it up"):
            ray.jobs()
    assert ray._child is None
    assert not ray.ownership.is_held


def test_each_death_of_the_warm_process_is_told_once(
    sleeper_at: Callable[[str], Sleeper], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ray = sleeper_at("http://first")
    begin(ray)
    assert "warm process" not in caplog.text
    ends = Path(json.loads((tmp_path / "ray.json").read_text())["temp_dir"]) / "fork.sock.ended"
    for number in range(2):
        with ends.open("a") as file:
            file.write(f"exit code {number}\n")
        for _ in range(2):
            begin(ray)
        told = [one for one in caplog.messages if "the warm process" in one]
        assert len(told) == number + 1
        assert told[-1].endswith(f"exit code {number}")
    # Who adopts it tells of what comes, not again of what was.
    caplog.clear()
    ray.leave()
    adopting = sleeper_at("http://first")
    begin(adopting)
    assert "warm process" not in caplog.text
    with ends.open("a") as file:
        file.write("exit code 2\n")
    begin(adopting)
    assert [one[-11:] for one in caplog.messages if "the warm process" in one] == ["exit code 2"]


def test_a_warm_process_of_other_code_is_not_asked_for_forks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = LocalRay(tmp_path, url="http://here", num_cpus=None, num_gpus=None, warm=True)
    record = Record(temp_dir="x", url="http://ray", pid=1, start="s", warm_code=code_sha256())
    assert ray._is_warm(record)
    cold = LocalRay(tmp_path, url="http://here", num_cpus=None, num_gpus=None, warm=False)
    assert not cold._is_warm(record)
    assert not ray._is_warm(replace(record, warm_code=None))
    code = tmp_path / "site"
    (code / "trainer" / "warm").mkdir(parents=True)
    monkeypatch.setattr(
        "service.cluster.warm_process.launcher",
        lambda: ["", str(code / "trainer/warm/launcher.py")],
    )
    assert not ray._is_warm(record)
