"""What run directories take."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.access import disk
from service.access.disk import MEASURED_FOR_S, DiskMeter, folder_bytes


def test_every_file_counts_once_and_links_lead_nowhere(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    (run / "deep" / "er").mkdir(parents=True)
    (run / "one").write_bytes(b"x" * 1000)
    (run / "deep" / "er" / "two").write_bytes(b"y" * 200)
    (run / "deep" / "again").hardlink_to(run / "one")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "large").write_bytes(b"z" * 5000)
    (run / "folder").symlink_to(outside)
    (run / "file").symlink_to(outside / "large")
    link_bytes = len(str((run / "file").readlink()))
    assert folder_bytes(run) == 1200 + link_bytes
    assert folder_bytes(tmp_path / "gone") == 0


def test_a_run_directory_is_measured_once_a_minute(tmp_path: Path) -> None:
    now = [0.0]
    meter = DiskMeter(tmp_path, clock=lambda: now[0])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * 10)
    assert meter.size_bytes(["a", "b"]) == 20
    (tmp_path / "a" / "file").write_bytes(b"x" * 30)
    assert meter.size_bytes(["a", "b"]) == 20
    now[0] = MEASURED_FOR_S
    assert meter.size_bytes(["a"]) == 30
    # What nobody asks for any more is forgotten.
    assert set(meter._measured) == {"a"}


def test_those_who_ask_at_once_share_one_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks, asked, go_on = [], threading.Semaphore(0), threading.Event()

    def walk(folder: Path) -> int:
        walks.append(folder.name)
        assert go_on.wait(10)
        return 10

    class Asked(dict[str, object]):
        """Counts those who look for a measurement of others."""

        def get(self, *key: object) -> object:
            asked.release()
            return super().get(*key)  # type: ignore[call-overload]

    monkeypatch.setattr(disk, "folder_bytes", walk)
    meter = DiskMeter(tmp_path)
    monkeypatch.setattr(meter, "_in_work", Asked())
    with ThreadPoolExecutor(4) as pool:
        sizes = [pool.submit(meter.size_bytes, ["a"]) for _ in range(4)]
        for _ in sizes:
            assert asked.acquire(timeout=10)
        go_on.set()
        assert [size.result() for size in sizes] == [10] * 4
    assert walks == ["a"]


def test_one_that_fails_is_told_and_the_next_measures_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path) -> int:
        raise MemoryError

    meter = DiskMeter(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(disk, "folder_bytes", fail)
        with pytest.raises(MemoryError):
            meter.size_bytes(["a"])
    assert meter.size_bytes(["a"]) == 0


class Walked(dict[str, Any]):
    """Counts the entries that somebody goes through."""

    num_entries = 0

    def __iter__(self) -> Iterator[str]:
        for key in super().__iter__():
            self.num_entries += 1
            yield key

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


def test_what_is_old_is_forgotten_without_going_through_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    num_jobs = 100
    jobs = [str(number) for number in range(num_jobs)]
    meter = DiskMeter(tmp_path, clock=lambda: now[0])
    measured = Walked()
    monkeypatch.setattr(meter, "_measured", measured)
    for now[0] in (0.0, MEASURED_FOR_S / 2, MEASURED_FOR_S):
        assert meter.size_bytes(jobs) == 0
    assert measured.num_entries <= 3 * num_jobs
    now[0] = 2 * MEASURED_FOR_S
    meter.size_bytes([])
    assert len(measured) == 0
