import errno
import json
import os
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainer.__main__ import app
from trainer.attempt.driver import AlreadyDrivenError, claim
from trainer.contract.death import NO_FOLDER, SECOND_DRIVER
from trainer.contract.run_directory import AttemptDirectory, RunDirectory


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    attempt = RunDirectory(tmp_path / "run").attempt(3)
    attempt.path.mkdir(parents=True)
    return attempt


def test_of_many_at_once_one_drives_an_attempt_for_good(attempt: AttemptDirectory) -> None:
    began = threading.Barrier(8)
    refused: list[AlreadyDrivenError] = []

    def begin() -> None:
        began.wait()
        try:
            claim(attempt)
        except AlreadyDrivenError as error:
            refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7
    with pytest.raises(AlreadyDrivenError, match=rf"attempt 3 .*\(process {os.getpid()} on "):
        claim(attempt)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_one_that_has_not_told_its_name_is_a_driver_too(
    attempt: AttemptDirectory, content: str
) -> None:
    attempt.driver.write_text(content)
    with pytest.raises(AlreadyDrivenError, match=r"\(another process, as .*driver\.json says\)"):
        claim(attempt)


def test_a_second_driver_ends_in_a_sentence_and_touches_nothing(attempt: AttemptDirectory) -> None:
    claim(attempt)
    before = {path.name: path.read_bytes() for path in attempt.path.iterdir()}
    result = CliRunner().invoke(app, ["attempt", str(attempt.path)])
    assert result.exit_code == SECOND_DRIVER
    assert result.stderr.startswith("attempt 3 has a driver already (process ")
    assert {path.name: path.read_bytes() for path in attempt.path.iterdir()} == before


def test_a_folder_that_is_gone_is_not_made_anew_and_no_crash(tmp_path: Path) -> None:
    gone = RunDirectory(tmp_path / "run").attempt(1)
    result = CliRunner().invoke(app, ["attempt", str(gone.path)])
    assert result.exit_code == NO_FOLDER
    assert f"{gone.path} cannot be used" in result.stderr
    assert not gone.path.exists()


def test_a_driver_that_cannot_write_its_name_is_one_all_the_same(
    attempt: AttemptDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", full)
        claim(attempt)
    with pytest.raises(AlreadyDrivenError):
        claim(attempt)
