import errno
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.unit.trainer.runs import add_attempt
from tests.waiting import wait_for
from trainer.contract.pictures import CLASSES_NAME, PAIRS_NAME, ClassCounts, ConfusionPairs
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import JobSpec
from trainer.pictures import painter as module
from trainer.pictures.painter import Painter, are_wanted, needs_bytes, shortage

TIMEOUT_S = 60
COUNTS = ClassCounts(step=7, protocol="centre_crop", classes=(), confusion=None, worst_pairs=())

# Stand where the process that draws does; each writes down what it is told.
_DRAWS = """
import sys
for line in sys.stdin:
    with open({told!r}, "a") as told:
        told.write(line)
    if "no_more" in line:
        break
"""
_STANDS = """
import time
open({told!r}, "w").close()
time.sleep(1000)
"""
_DIES = """
import os, sys
sys.stdin.readline()
open({told!r}, "a").write("dead\\n")
os._exit(3)
"""

StandIn = Callable[[str], Path]


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    return add_attempt(RunDirectory(tmp_path / "run"))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Has another program run, and returns the file that it writes to."""

    def run(program: str) -> Path:
        told = tmp_path / "told"
        file = tmp_path / "program.py"
        file.write_text(program.format(told=str(told)))
        monkeypatch.setattr(module, "_python", lambda: [sys.executable, str(file)])
        return told

    return run


def _draw(painter: Painter, step: int, counts: ClassCounts | None = None) -> None:
    painter.draw(step=step, epoch=1.0, has_checkpoint=True, counts=counts)


def test_nothing_is_begun_before_there_is_something_to_draw(attempt: AttemptDirectory) -> None:
    with Painter(attempt) as painter:
        assert painter.pid is None
        painter.finish()
    assert not attempt.pictures.exists()


def test_the_process_is_told_what_to_draw_and_awaited(
    attempt: AttemptDirectory, stand_in: StandIn
) -> None:
    told = stand_in(_DRAWS)
    with Painter(attempt) as painter:
        _draw(painter, 6)
        _draw(painter, 7, COUNTS)
        pid = painter.pid
        painter.finish(TIMEOUT_S)
    assert pid is not None
    assert not psutil.pid_exists(pid)
    first, second, last = told.read_text().splitlines()
    assert '"step":6' in first
    assert '"has_classes":false' in first
    assert '"has_classes":true' in second
    assert "no_more" in last
    classes = attempt.pictures_at(7) / CLASSES_NAME
    assert ClassCounts.model_validate_json(classes.read_bytes()) == COUNTS


def test_pairs_lie_beside_the_classes(attempt: AttemptDirectory, stand_in: StandIn) -> None:
    stand_in(_DRAWS)
    paired = COUNTS.model_copy(update={"pairs": ((0, 0, 2), (0, 128, 1))})
    with Painter(attempt) as painter:
        _draw(painter, 6, COUNTS)
        _draw(painter, 7, paired)
        painter.finish(TIMEOUT_S)
    assert not (attempt.pictures_at(6) / PAIRS_NAME).exists()
    classes, pairs = (attempt.pictures_at(7) / name for name in (CLASSES_NAME, PAIRS_NAME))
    assert ClassCounts.model_validate_json(classes.read_bytes()) == COUNTS
    written = ConfusionPairs.model_validate_json(pairs.read_bytes())
    assert written.pairs == paired.pairs


def test_who_does_not_listen_is_neither_waited_for_nor_left_behind(
    attempt: AttemptDirectory, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    told = stand_in(_STANDS)
    with Painter(attempt) as painter:
        _draw(painter, 0)
        wait_for("it", told.exists, timeout_s=TIMEOUT_S)
        # More than a pipe holds.
        for step in range(2000):
            _draw(painter, step)
        pid = painter.pid
        begun = time.monotonic()
        painter.finish(0.1)
        assert time.monotonic() - begun < TIMEOUT_S
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert "the last step is not drawn" in caplog.text


def test_an_attempt_that_fails_waits_for_nothing(
    attempt: AttemptDirectory, stand_in: StandIn
) -> None:
    stand_in(_STANDS)
    painter = Painter(attempt)
    _draw(painter, 1)
    pid = painter.pid
    with pytest.raises(ValueError, match="the loss"), painter:
        raise ValueError("the loss")
    assert pid is not None
    assert not psutil.pid_exists(pid)


def test_another_follows_one_that_died_but_not_for_ever(
    attempt: AttemptDirectory, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    told = stand_in(_DIES)
    with Painter(attempt) as painter:
        for step in range(6):
            _draw(painter, step)
            wait_for("its end", partial(_is_over, painter.pid), timeout_s=TIMEOUT_S)
        painter.finish()
    assert told.read_text().splitlines() == ["dead"] * 3
    assert caplog.text.count("(exit code 3), which harms nothing") == 3
    assert caplog.text.count("none follows") == 1


def test_a_last_step_that_is_not_drawn_is_logged(
    attempt: AttemptDirectory, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in(_DIES)
    with Painter(attempt) as painter:
        _draw(painter, 1)
        painter.finish(TIMEOUT_S)
    assert "the last step is not drawn: the process that draws ended (exit code 3)" in caplog.text


def _is_over(pid: int | None) -> bool:
    return pid is None or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_full_disk_is_logged_once(
    attempt: AttemptDirectory,
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stand_in(_DRAWS)

    def full(path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(module, "write_whole", full)
    with Painter(attempt) as painter:
        for step in range(3):
            _draw(painter, step, COUNTS)
    assert caplog.text.count("No space left on device") == 1


def test_whoever_wants_the_attempt_to_end_waits_for_no_picture(
    attempt: AttemptDirectory, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    told = stand_in(_STANDS)
    asked: list[bool] = []

    def is_in_the_way() -> bool:
        asked.append(told.exists())
        return len(asked) > 2

    with Painter(attempt) as painter:
        _draw(painter, 1)
        pid = painter.pid
        # It would stand for longer than that.
        painter.finish(10 * TIMEOUT_S, is_in_the_way=is_in_the_way)
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert "there is no time left" in caplog.text


def test_where_memory_is_short_nothing_is_begun_until_there_is_some(
    attempt: AttemptDirectory,
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = stand_in(_DRAWS)
    spare: list[float | None] = [5e8, 4e8, 7e8, 0.0]
    monkeypatch.setattr(module, "spare_bytes", lambda: spare.pop(0))
    with Painter(attempt, needs_bytes=6e8) as painter:
        for step in range(4):
            _draw(painter, step)
            assert (painter.pid is None) == (step < 2)
        painter.finish(TIMEOUT_S)
    # Nor is it asked of one that draws.
    assert spare == [0.0]
    assert [line.count('"step"') for line in told.read_text().splitlines()] == [1, 1, 0]
    assert caplog.text.count("the node has 500 MB of memory to spare") == 1


def test_what_is_short_is_told_and_what_is_not_known_is_enough() -> None:
    assert shortage(6e8, None) is shortage(6e8, 6e8) is None
    assert "has 0 MB of memory to spare, and drawing takes 600" in str(shortage(6e8, -1e9))


def _needs(**fields: Any) -> float:
    data = {"train": "/d/train.json", "validation": "/d/validation.json"}
    return needs_bytes(JobSpec.model_validate({"name": "a", "data": data, **fields}))


def test_a_larger_network_takes_more_to_draw_and_an_evaluation_loads_none() -> None:
    # What was measured of each, with the index of ILSVRC-2012.
    assert 994e6 + 74e6 < _needs() == pytest.approx(1.19e9, rel=0.01)
    assert 610e6 + 74e6 < _needs(model={"width": 0.25}) < 8e8
    assert _needs(kind="evaluate", evaluation={"checkpoints": ["/runs/a"]}) == 7e8


def test_an_operator_may_have_nothing_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert are_wanted()
    monkeypatch.setenv("ALEXNET_PICTURES", "off")
    assert not are_wanted()
