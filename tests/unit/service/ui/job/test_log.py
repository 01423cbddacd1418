"""The log of a job as the page shows it."""

from pathlib import Path

import pytest

from service.ui.job.log import TAIL_LINES, LogReader
from trainer.contract.run_directory import RunDirectory


def printed(run: Path, attempt: int, text: str) -> None:
    file = RunDirectory(run).attempt(attempt).log
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as log:
        log.write(text)


def test_the_last_lines_come_first_and_then_what_follows(tmp_path: Path) -> None:
    printed(tmp_path, 1, "".join(f"line {number}\n" for number in range(TAIL_LINES + 5)))
    log = LogReader(run=tmp_path, attempt=1)
    first = log.read([1], is_over=False)
    assert first.splitlines()[0] == "line 5"
    assert log.read([1], is_over=False) == ""
    printed(tmp_path, 1, "more\nhalf")
    assert log.read([1], is_over=False) == "more\n"
    assert log.read([1], is_over=True) == "half"


def test_later_attempts_are_gone_on_to(tmp_path: Path) -> None:
    log = LogReader(run=tmp_path, attempt=0)
    assert log.read([], is_over=False) == ""
    printed(tmp_path, 1, "one\nhalf")
    assert log.read([1], is_over=False) == "one\n"
    printed(tmp_path, 2, "two\n")
    assert log.read([1, 2], is_over=False) == "half==> attempt 2 <==\ntwo\n"


def test_an_attempt_that_was_asked_for_is_told_alone_and_whole(tmp_path: Path) -> None:
    printed(tmp_path, 1, "one\nhalf")
    printed(tmp_path, 2, "two\n")
    log = LogReader(run=tmp_path, attempt=1, follows=False)
    assert log.read([1, 2], is_over=False) == "one\nhalf"
    assert log.read([1, 2], is_over=True) == ""


def test_an_attempt_that_has_printed_nothing_is_no_trouble(tmp_path: Path) -> None:
    log = LogReader(run=tmp_path, attempt=1)
    assert (log.read([1], is_over=True), log.trouble) == ("", "")


def test_a_disk_that_fails_is_told_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed(tmp_path, 1, "one\n")
    log = LogReader(run=tmp_path, attempt=1)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("service.ui.job.log.tail_of", fail)
        assert log.read([1], is_over=False) == ""
    assert log.trouble == "the log cannot be read: Input/output error"
    assert (log.read([1], is_over=False), log.trouble) == ("one\n", "")
