import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.runs import add_attempt, add_checkpoint
from trainer.contract.checkpoint_folder import list_folders, verify
from trainer.contract.pins import clear_discarded, discard, is_pinned, pin, unpin
from trainer.contract.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def folder(run: RunDirectory) -> Path:
    return add_checkpoint(add_attempt(run), 1)


def test_what_is_pinned_is_not_discarded_until_it_is_unpinned(folder: Path) -> None:
    assert not is_pinned(folder)
    assert pin(folder)
    assert pin(folder)
    assert is_pinned(folder)
    assert not discard(folder)
    verify(folder)
    assert unpin(folder)
    assert unpin(folder)
    assert discard(folder)
    assert list(folder.parent.iterdir()) == []


def test_what_is_gone_can_neither_be_pinned_nor_discarded(folder: Path) -> None:
    shutil.rmtree(folder)
    for change in (pin, unpin, discard, is_pinned):
        assert not change(folder)
    assert list(folder.parent.iterdir()) == []


class Calls:
    """Runs something just before a call of the operating system, by the number of the call."""

    NAMES = ("listdir", "rename", "fsync", "open", "unlink", "rmdir")

    def __init__(self, patch: pytest.MonkeyPatch, at: int, act: Callable[[], None]) -> None:
        self.count = 0
        self.acted = False
        for name in self.NAMES:
            patch.setattr(os, name, self._before(getattr(os, name), at, act))

    def _before(self, call: Callable[..., Any], at: int, act: Callable[[], None]) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if not self.acted:
                self.count += 1
                if self.count > at:
                    self.acted = True
                    act()
            return call(*arguments, **options)

        return wrapped


def interleavings(
    tmp_path: Path, first: Callable[[Path], bool], second: Callable[[Path], bool]
) -> list[tuple[Path, bool, bool]]:
    """Do `second` before every call that `first` makes, each time with a new checkpoint."""
    results: list[tuple[Path, bool, bool]] = []
    for at in range(100):
        folder = add_checkpoint(add_attempt(RunDirectory(tmp_path / f"{at}")), 1)
        seconds: list[bool] = []
        with pytest.MonkeyPatch.context() as patch:

            def act(folder: Path = folder, seconds: list[bool] = seconds) -> None:
                seconds.append(second(folder))

            calls = Calls(patch, at, act)
            done = first(folder)
        if not calls.acted:
            assert at > 2, "there was nothing to come between"
            return results
        results.append((folder, done, seconds[0]))
    raise AssertionError("it never ends")


def test_a_pin_that_was_promised_holds_wherever_it_comes_in_a_deletion(tmp_path: Path) -> None:
    outcomes = set()
    for folder, discarded, pinned in interleavings(tmp_path, discard, pin):
        clear_discarded(RunDirectory(folder.parents[3]))
        if pinned:
            assert not discarded
            verify(folder)
        assert folder.exists() != discarded
        outcomes.add(pinned)
    assert outcomes == {True, False}


def test_a_pin_is_not_promised_of_what_is_deleted_while_it_is_made(tmp_path: Path) -> None:
    outcomes = set()
    for folder, pinned, discarded in interleavings(tmp_path, pin, discard):
        assert folder.exists() != discarded
        if pinned:
            verify(folder)
            assert not discard(folder)
        outcomes.add(pinned)
    assert outcomes == {True, False}


def test_a_deletion_that_death_cuts_short_leaves_no_half_checkpoint(tmp_path: Path) -> None:
    class DeathError(BaseException):
        pass

    def die() -> None:
        raise DeathError

    for at in range(100):
        run = RunDirectory(tmp_path / f"{at}")
        folder = add_checkpoint(add_attempt(run), 1)
        with pytest.MonkeyPatch.context() as patch:
            calls = Calls(patch, at, die)
            with suppress(DeathError):
                discard(folder)
        for listed in list_folders(run):
            verify(listed)
        clear_discarded(run)
        assert all(not entry.name.startswith(".") for entry in folder.parent.iterdir())
        if not calls.acted:
            assert at > 4
            return


def test_what_was_pinned_before_a_deletion_died_gets_its_name_back(
    run: RunDirectory, folder: Path
) -> None:
    pin(folder)
    folder.rename(folder.with_name(f".{folder.name}.deleted"))
    assert list_folders(run) == []
    clear_discarded(run)
    assert list_folders(run) == [folder]
    assert is_pinned(folder)
