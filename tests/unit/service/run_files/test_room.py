"""How much room a disk has, also where it does not answer."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from service.run_files.room import RoomMeter


def test_a_disk_says_how_much_is_free_to_whoever_is_not_root(tmp_path: Path) -> None:
    room = RoomMeter(tmp_path).read(within_s=60)
    assert room is not None
    told = os.statvfs(tmp_path)
    assert room.size == told.f_blocks * told.f_frsize
    assert 0 <= room.free <= room.size


def test_of_a_folder_that_is_away_nothing_is_known(tmp_path: Path) -> None:
    meter = RoomMeter(tmp_path / "later")
    assert meter.read(within_s=60) is None
    (tmp_path / "later").mkdir()
    assert meter.read(within_s=60) is not None


def test_a_disk_that_hangs_is_asked_once_and_waited_for_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), 0
    really = shutil.disk_usage

    def hang(folder: Path) -> object:
        nonlocal asked
        asked += 1
        answers.wait(60)
        return really(folder)

    monkeypatch.setattr(shutil, "disk_usage", hang)
    meter = RoomMeter(tmp_path)
    assert [meter.read(within_s=0.01) for _ in range(3)] == [None] * 3
    assert asked == 1
    answers.set()
    assert meter.read(within_s=60) is not None
