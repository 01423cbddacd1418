"""What became of a job."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from service.jobs.events import JobEventData, Resized, StatusChanged
from service.jobs.records import AttemptRecord, CheckpointRecord, EventRecord
from service.ui.job.timeline import WIDTH, Timeline, timeline
from tests.unit.service.jobs.records import job as job_record
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import Started
from trainer.contract.status import Status

START = datetime(2026, 11, 1, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def events(*told: tuple[float, JobEventData]) -> list[EventRecord]:
    return [
        EventRecord(number=number, at=at(minutes), attempt=1, data=data)
        for number, (minutes, data) in enumerate(told, 1)
    ]


MILESTONES = events(
    (0, StatusChanged(before=None, after=Status.QUEUED)),
    (10, StatusChanged(before=Status.QUEUED, after=Status.STARTING)),
    (
        11,
        Started(
            start_step=0, planned_steps=9, steps_per_epoch=3, worker_pids=(1,), devices=("cpu",)
        ),
    ),
    (12, StatusChanged(before=Status.STARTING, after=Status.RUNNING)),
    (
        20,
        StatusChanged(
            before=Status.RUNNING, after=Status.RETRYING, reason=Reason.LOST_NODE, message="gone"
        ),
    ),
    (21, Resized(before=2, after=1)),
)
ATTEMPT = AttemptRecord(
    job_id="j",
    number=1,
    token_sha256=None,
    accelerator="cpu",
    resume_from=None,
    created_at=at(10),
    submitted_at=None,
    ended_at=at(20),
    outcome=Outcome(outcome="failed", reason=Reason.LOST_NODE, message="gone", step=4),
    worker_pids=(),
    events_through=0,
)


def saved(step: int, minutes: float) -> CheckpointRecord:
    return CheckpointRecord(
        attempt=1,
        step=step,
        epoch=1,
        saved_at=at(minutes),
        path="p",
        size_bytes=1,
        weights_sha256="0" * 64,
        top1=None,
    )


def of(
    milestones: Sequence[EventRecord] = MILESTONES, *, status: Status = Status.RETRYING
) -> Timeline:
    job = replace(job_record(), status=status)
    return timeline(job, [ATTEMPT], milestones, [saved(2, 14), saved(4, 16)])


def test_the_list_tells_what_happened_in_order_and_why() -> None:
    told = [(entry.title, entry.detail) for entry in of().entries]
    assert told == [
        ("Queued", ""),
        ("Starting", ""),
        ("Attempt 1 trains", "after 0 steps, on cpu"),
        ("Running", ""),
        ("2 checkpoints", "the last after 4 steps, by attempt 1"),
        ("Retrying", "lost node: gone"),
        ("Attempt 1 failed", "4 steps committed"),
        ("Replicas: 1", "2 before"),
    ]


def test_an_end_that_no_status_tells_of_is_told_of_the_attempt() -> None:
    (entry,) = timeline(job_record(), [ATTEMPT], [], []).entries
    assert (entry.title, entry.detail) == (
        "Attempt 1 failed",
        "lost node: gone, 4 steps committed",
    )


def test_the_bar_fills_the_line_and_the_last_state_lasts() -> None:
    bars = of().bars(at(40))
    assert [(bar.kind, bar.x) for bar in bars] == [
        ("wait", 0),
        ("busy", 250),
        ("run", 300),
        ("again", 500),
    ]
    assert bars[-1].x + bars[-1].width == WIDTH
    assert bars[-1].title == "Retrying, 20 min"
    assert of().ticks(at(40)) == [350, 400]


def test_a_job_that_has_ended_has_no_state_that_lasts() -> None:
    ended = events(
        (0, StatusChanged(before=None, after=Status.QUEUED)),
        (10, StatusChanged(before=Status.QUEUED, after=Status.CANCELLED)),
    )
    told = of(ended, status=Status.CANCELLED)
    assert [bar.width for bar in told.bars(at(99))] == [WIDTH]


def test_a_job_without_events_has_a_bar_of_nothing() -> None:
    none = timeline(job_record(), [], [], [saved(1, 1)])
    assert (none.bars(START), none.ticks(START)) == ([], [])
