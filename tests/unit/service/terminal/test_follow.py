import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from service.client.client import Client
from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.terminal.follow import follow, last_line, time_left
from tests.unit.service.conftest import job_in, job_progress, progress, report
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import Evaluated, SamplesSkipped, Started
from trainer.contract.status import Status

STARTED = Started(
    start_step=0,
    planned_steps=100,
    steps_per_epoch=10,
    worker_pids=(7,),
    devices=("cpu", "cpu"),
    inexact=("torch threads was 1 and is 2",),
)
EVALUATED = Evaluated(step=50, epoch=5.0, num_samples=10, loss=1.0, top1=1.0, top5=1.0)
SKIPPED = SamplesSkipped(step=50, samples=("a.tar:1", "a.tar:2"), reason="not a JPEG", total=2)


def followed(plane: ControlPlane, job_id: str, *, terminal: bool, curves: bool = False) -> str:
    console = Console(
        width=80,
        file=io.StringIO(),
        force_terminal=terminal,
        color_system=None,
        legacy_windows=False,
    )
    with Client(plane.settings.advertised_url) as client:
        assert follow(client, job_id, console, curves=curves).id == job_id
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def failed(plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    job_id = f"f{abs(hash(request.node.name))}"
    job_in(plane.store, Status.RUNNING, job_id)
    far = progress(50, loss=6.9078, images_per_second=12345.0, epoch=89.99, planned_steps=500_000)
    report(plane.store, job_id, STARTED, progress(10), EVALUATED, SKIPPED, far)
    message = "Traceback (most recent call last):\n  ...\nOSError: [bold]no space left"
    failure = Outcome(outcome="failed", reason=Reason.CRASHED, message=message)
    end = Decision(status=Status.FAILED, ended=failure, reason=Reason.CRASHED, message=message)
    plane.store.apply(plane.store.job(job_id), end, datetime.now(UTC))
    return job_id


def test_each_status_is_a_line_and_the_last_figures_stay(plane: ControlPlane, failed: str) -> None:
    lines = [line.rstrip() for line in followed(plane, failed, terminal=False).splitlines()]
    assert lines[:6] == [
        "QUEUED",
        "STARTING   attempt 1, from the start",
        "RUNNING",
        "not bit-exact: torch threads was 1 and is 2",
        "skipped a.tar:1, a.tar:2: not a JPEG",
        "FAILED     OSError: [bold]no space left",
    ]
    assert lines[6].split()[0] == "FAILED"
    assert lines[6].endswith("0 %")
    # The widest figures that a run of the paper's size gives.
    assert lines[7] == ("epoch 89.99  loss 6.908  top-1 100.0%  12,345 images/s  ETA ?")
    assert all(len(line) <= 80 for line in lines)


def test_a_terminal_is_redrawn_within_its_width(plane: ControlPlane, failed: str) -> None:
    shown = followed(plane, failed, terminal=True)
    assert "\x1b[" in shown
    assert "…" not in shown
    assert "12,345 images/s" in shown


def test_time_left_is_for_people() -> None:
    def left(eta_s: float | None) -> str:
        return time_left(job_progress(1).model_copy(update={"eta_s": eta_s}))

    assert left(12.8) == "0:00:13"
    assert left(0.0) == "0:00:00"
    assert left(576_000.0) == "6 days, 16:00:00"
    assert left(None) == "?"


def test_curves_grow_above_the_bar_of_a_terminal(plane: ControlPlane, failed: str) -> None:
    shown = followed(plane, failed, terminal=True, curves=True)
    assert "─┐" in shown
    assert shown.count("images/s") > 1
    # Where there is no terminal there are no curves.
    assert "─┐" not in followed(plane, failed, terminal=False, curves=True)


def test_the_last_line_says_what_a_log_comes_to() -> None:
    assert last_line("a\nb\n\n") == "b"
    assert last_line(" \n") == ""
