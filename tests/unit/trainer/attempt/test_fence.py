from pathlib import Path

import pytest

from tests.unit.trainer.runs import add_attempt
from trainer.attempt.fence import Fence
from trainer.contract.order_file import read_order, replace_order
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


def test_what_a_leader_left_that_thawed_in_anothers_term_fences_nobody_off(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    current = add_attempt(run, fence=2)
    check = Fence(current, disowned=lambda: False, fence=2).check
    # A folder whose order is yet to be written began nothing either.
    run.attempt(2).path.mkdir()
    check()
    late = read_order(current).model_copy(update={"attempt": 2, "fence": 1})
    replace_order(run.attempt(2), late)
    check()
    add_attempt(run, fence=2)
    with pytest.raises(StaleAttemptError, match="attempt 3 has begun"):
        check()


@pytest.mark.parametrize("torn", ["", '{"token": "secret', "{}"])
def test_an_order_that_cannot_be_read_fences_off_the_earlier(tmp_path: Path, torn: str) -> None:
    run = RunDirectory(tmp_path)
    fence = Fence(add_attempt(run), disowned=lambda: False)
    add_attempt(run).order.write_text(torn)
    with pytest.raises(StaleAttemptError, match="attempt 2 has begun") as stale:
        fence.check()
    assert "secret" not in str(stale.value)
