from pathlib import Path

import pytest

from tests.unit.trainer.runs import add_attempt
from trainer.attempt.fence import Fence
from trainer.contract.run_directory import RunDirectory
from trainer.errors import StaleAttemptError


def test_the_newest_attempt_may_go_on(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    add_attempt(run)
    Fence(add_attempt(run), disowned=lambda: False).check()


def test_a_later_attempt_fences_off_the_earlier(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    fence = Fence(add_attempt(run), disowned=lambda: False)
    fence.check()
    add_attempt(run)
    with pytest.raises(StaleAttemptError, match="attempt 1 is no longer current: attempt 2"):
        fence.check()


def test_the_control_plane_may_disown(tmp_path: Path) -> None:
    attempt = add_attempt(RunDirectory(tmp_path))
    with pytest.raises(StaleAttemptError, match="the control plane refused its events"):
        Fence(attempt, disowned=lambda: True).check()
