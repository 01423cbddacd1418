import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from service.terminal.tables import checkpoint_table, detail_table, job_table
from service.views.jobs import Attempt, Checkpoint, Job, JobDetail, LastCheckpoint
from tests.unit.service.conftest import job_progress, make_spec
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import Evaluated
from trainer.contract.retention import KeptBecause

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FIELDS: dict[str, Any] = {
    "id": "0123456789ab",
    "name": "first light",
    "status": "RUNNING",
    "desired": "run",
    "reason": None,
    "message": None,
    "attempt": 1,
    "created_at": AT,
    "status_since": AT,
    "started_at": AT,
    "finished_at": None,
    "retry_at": None,
    "progress": job_progress(20, data_wait_ratio=0.25).model_copy(
        update={"eta_s": 102.4, "last_checkpoint": LastCheckpoint(step=10, saved_at=AT)}
    ),
    "evaluation": Evaluated(step=20, epoch=2, num_samples=9, loss=1, top1=0.873, top5=0.991),
    "run_directory": "/var/lib/alexnet/runs/0123456789ab",
    "spec": make_spec(),
}


def shown(table: RenderableType, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return "\n".join(line.rstrip() for line in lines)


def job(*, age: timedelta = timedelta(hours=3, minutes=5), **fields: Any) -> Job:
    return Job.model_validate(FIELDS | {"created_at": datetime.now(UTC) - age} | fields)


def test_what_a_crash_printed_does_nothing_to_the_terminal() -> None:
    active = job(message="\x1b]0;owned\x07\x1b[2J")
    assert "\x1b]" not in shown(job_table((active,)))
    assert "\\x1b]0;owned" in shown(job_table((active,)))


def test_jobs_are_a_row_each_and_their_messages_lines_below() -> None:
    waiting = {"progress": None, "evaluation": None, "id": "00000000000a", "status": "QUEUED"}
    jobs = (
        job(),
        job(
            **waiting,
            name="x" * 30,
            message="needs 1 × (2 CPU); free are 0 CPU and 0 GPU on 1 node",
            age=timedelta(days=12, hours=1),
        ),
        job(id="00000000000b", status="FAILED", message="Traceback ...\n  boom\nValueError: [red]"),
    )
    assert (
        shown(job_table(jobs))
        == """\
JOB           STATUS   EPOCH  LOSS   TOP-1  AGE      NAME
0123456789ab  RUNNING  2.00   1.500  87.3%  3h 05m   first light
00000000000a  QUEUED                        12d 01h  xxxxxxxxxxxxxxxxxxxxxxxxxxx
                                                     xxx
00000000000b  FAILED   2.00   1.500  87.3%  3h 05m   first light
00000000000a: needs 1 × (2 CPU); free are 0 CPU and 0 GPU on 1 node
00000000000b: ValueError: [red]"""
    )


@given(
    name=st.text("abc XYZ", min_size=1, max_size=80).map(lambda text: "n" + text[1:]),
    step=st.integers(0, 10**7),
    loss=st.floats(0, 9999),
    top1=st.floats(0, 1),
)
def test_no_figure_is_cut_off_or_wrapped_at_80_columns(
    name: str, step: int, loss: float, top1: float
) -> None:
    there = job_progress(step, loss=loss)
    evaluation = FIELDS["evaluation"].model_copy(update={"top1": top1})
    row = job(name=name, progress=there, evaluation=evaluation, status="CANCELLING")
    words = shown(job_table((row,))).splitlines()[1].split()
    assert words[:4] == ["0123456789ab", "CANCELLING", f"{step / 10:.2f}", f"{loss:.3f}"]
    assert words[4:7] == [f"{top1:.1%}", "3h", "05m"]


@pytest.mark.parametrize("width", [20, 40, 59])
def test_a_narrow_terminal_folds_and_cuts_nothing(width: int) -> None:
    checkpoint = Checkpoint(
        attempt=1,
        step=900_000,
        epoch=90,
        saved_at=AT,
        path="attempts/0001/checkpoints/step-00900000",
        size_bytes=487_723_008,
        weights_sha256="0" * 64,
        top1=0.625,
    )
    detail = JobDetail.model_validate(
        FIELDS | {"attempts": (), "worker_pids": (), "report": None, "message": "m" * 90}
    )
    for table in (job_table((job(),)), checkpoint_table((checkpoint,)), detail_table(detail)):
        assert "…" not in shown(table, width)
    folded = shown(detail_table(detail), width)
    assert folded.count("m") - folded.replace("m" * 4, "").count("m") >= 80


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(seconds=-5), "0s"),  # The clocks of two machines differ.
        (timedelta(seconds=59), "59s"),
        (timedelta(minutes=59, seconds=30), "59m"),
        (timedelta(hours=1), "1h 00m"),
        (timedelta(hours=23, minutes=59), "23h 59m"),
        (timedelta(days=1), "1d 00h"),
    ],
)
def test_an_age_has_two_units_at_most(age: timedelta, text: str) -> None:
    assert f"87.3%  {text}" in shown(job_table((job(age=age),)))


def test_a_job_is_shown_with_every_attempt() -> None:
    def attempt(number: int, resume_from: str | None, outcome: Outcome | None) -> Attempt:
        return Attempt(
            number=number,
            submission_id=f"0123456789ab-{number}",
            accelerator="cpu",
            resume_from=resume_from,
            created_at=AT,
            submitted_at=AT,
            ended_at=None,
            outcome=outcome,
            worker_pids=(7,),
        )

    crashed = Outcome(outcome="failed", reason=Reason.CRASHED, message="boom")
    detail = JobDetail.model_validate(
        FIELDS
        | {
            "message": "attempt 2, from attempts/0001/checkpoints/step-00000100",
            "attempts": (
                attempt(1, None, crashed),
                attempt(2, "attempts/0001/checkpoints/step-00000100", None),
            ),
            "worker_pids": (7,),
            "report": None,
        }
    )
    assert (
        shown(detail_table(detail))
        == """\
job            0123456789ab
name           first light
status         RUNNING
message        attempt 2, from attempts/0001/checkpoints/step-00000100
accepted       2026-01-02 03:04:05 UTC
run directory  /var/lib/alexnet/runs/0123456789ab
progress       20 of 100 steps, epoch 2.00
loss           1.5000
images/s       100
time left      0:01:42
bottleneck     waiting on data 25 % of the step: raise data.num_loader_processes
checkpoint     after step 10, 2026-01-02 03:04:05 UTC
top-1, top-5   87.30%, 99.10% (centre crop)
attempt 1      failed (crashed), from the start
attempt 2      runs, from attempts/0001/checkpoints/step-00000100"""
    )


def test_checkpoints_of_the_papers_run_fit_into_80_columns() -> None:
    def checkpoint(step: int, top1: float | None) -> Checkpoint:
        return Checkpoint(
            attempt=1,
            step=step,
            epoch=step / 10_000,
            saved_at=datetime.now(UTC) - timedelta(minutes=90),
            path=f"attempts/0001/checkpoints/step-{step:08d}",
            size_bytes=487_723_008,
            weights_sha256="0" * 64,
            loss=1.5,
            top1=top1,
            kept_because=tuple(map(KeptBecause, ("last", "resumed_from", "pinned"))),
        )

    table = checkpoint_table((checkpoint(100, None), checkpoint(900_000, 0.625)))
    assert (
        shown(table)
        == """\
STEP    EPOCH  LOSS   TOP-1  MB     AGE     KEPT
100     0.01   1.500         487.7  1h 30m  last, resumed from, pinned
900000  90.00  1.500  62.5%  487.7  1h 30m  last, resumed from, pinned"""
    )


def test_a_job_that_cannot_be_read_is_named() -> None:
    assert "f00d: cannot be read by this release" in shown(job_table((job(),), ("f00d",)))
