"""What the store and the run directory know of a job, read for its page."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from service.access.caller import Caller
from service.api.present import read_report
from service.control_plane import ControlPlane
from service.jobs.history import History, Series
from service.jobs.records import AttemptRecord, CheckpointRecord, EventRecord, JobRecord
from service.run_files.kept_checkpoints import KeptCheckpoint, kept_checkpoints
from service.store.attempts import read_attempts, read_checkpoints
from service.store.breakdowns import read_breakdowns
from service.store.happenings import newest_event, newest_events, newest_of_kinds
from service.store.jobs import read_job
from service.store.losses import losses_before
from service.store.points import read_history
from trainer.contract.pictures import (
    ClassCounts,
    StepPictures,
    classes_of,
    curves_of,
    pictures_of,
    sheet_of,
)
from trainer.contract.report import Report
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import Status

logger = logging.getLogger(__name__)

SERIES: tuple[Series, ...] = ("loss", "images_per_second", "learning_rate")
MAX_POINTS = 500
MAX_BREAKDOWNS = 125
MAX_EVENTS = 100
MAX_MILESTONES = 200
MILESTONES = ("status", "started", "resized")


Pulse = tuple[JobRecord, int]
"""A job, and the number of its newest event: by these it is known whether to look."""


@dataclass(frozen=True, kw_only=True)
class State:
    """How a job stands, by the store."""

    job: JobRecord
    attempts: Sequence[AttemptRecord]
    milestones: Sequence[EventRecord]
    """The oldest first; of very many the newest."""
    events: Sequence[EventRecord]
    """The newest first."""
    saved: Sequence[CheckpointRecord]
    """Every checkpoint that was reported."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What takes longer to read."""

    history: History
    kept: Sequence[KeptCheckpoint]
    """The oldest first."""
    losses: Sequence[float | None]
    """Beside each of them."""
    trouble: str
    """Why the checkpoints cannot be listed; '': they can."""
    report: Report | None
    drawn: Sequence[StepPictures]
    """Pictures, by step."""
    classes: tuple[StepPictures, ClassCounts] | None
    """The newest evaluation class by class, and its pictures."""
    curves: str | None = None
    """Path of a picture of loss and errors, relative to the run directory."""
    sheet: str | None = None
    """The same of the contact sheet of the training set."""


def read_pulse(plane: ControlPlane, caller: Caller, job_id: str) -> Pulse:
    """Read no more than that. Raises JobNotFoundError, UnreadableJobError."""

    def read(connection: Connection) -> Pulse:
        job = read_job(connection, job_id, seen_by=caller)
        return job, newest_event(connection, job_id)

    return plane.store.read(read)


def read_state(plane: ControlPlane, caller: Caller, job_id: str) -> State:
    """Read how a job stands. Raises JobNotFoundError, UnreadableJobError."""

    def read(connection: Connection) -> State:
        return State(
            job=read_job(connection, job_id, seen_by=caller),
            attempts=read_attempts(connection, job_id),
            milestones=newest_of_kinds(connection, job_id, MILESTONES, limit=MAX_MILESTONES)[::-1],
            events=newest_events(connection, job_id, limit=MAX_EVENTS),
            saved=read_checkpoints(connection, job_id),
        )

    return plane.store.read(read)


def read_findings(plane: ControlPlane, state: State) -> Findings:
    """Read what came of a job so far."""
    job = state.job
    root = plane.settings.run_root.resolve()
    trouble = ""
    kept: Sequence[KeptCheckpoint] = ()
    try:
        kept = kept_checkpoints(job, state.attempts, root, plane.store.live_jobs)
    except OSError as error:
        trouble = f"the run directory cannot be read: {error.strerror or error}"
        logger.warning("the checkpoints of job %s cannot be listed: %s", job.id, error)
    places = [(one.checkpoint.manifest.attempt, one.step) for one in kept]
    numbers = [one.number for one in state.attempts]
    drawn = read_drawn(plane, job.id, numbers)
    run = RunDirectory(root / job.id)
    losses = plane.store.read(partial(losses_before, job_id=job.id, places=places))
    return Findings(
        history=plane.store.read(partial(_read_history, job_id=job.id)),
        kept=kept,
        losses=[losses[place] for place in places],
        trouble=trouble,
        report=_report(run.path, job),
        drawn=drawn,
        classes=_classes(run, drawn),
        curves=_found(curves_of, run, numbers),
        sheet=_found(sheet_of, run, numbers),
    )


def _read_history(connection: Connection, job_id: str) -> History:
    history = read_history(connection, job_id, SERIES, max_points=MAX_POINTS)
    breakdowns = read_breakdowns(connection, job_id, at_most=MAX_BREAKDOWNS)
    return replace(history, breakdowns=breakdowns)


def read_drawn(plane: ControlPlane, job_id: str, attempts: Sequence[int]) -> list[StepPictures]:
    """Return what was drawn of a job, by step; none where its run directory cannot be read."""
    try:
        return pictures_of(RunDirectory(plane.settings.run_root.resolve() / job_id), attempts)
    except OSError as error:
        logger.warning("the pictures of job %s cannot be listed: %s", job_id, error)
        return []


def _classes(
    run: RunDirectory, drawn: Sequence[StepPictures]
) -> tuple[StepPictures, ClassCounts] | None:
    for one in reversed(drawn):
        counts = classes_of(run, one)
        if counts is not None:
            return one, counts
    return None


def _found(
    find: Callable[[RunDirectory, Sequence[int]], str | None],
    run: RunDirectory,
    attempts: Sequence[int],
) -> str | None:
    try:
        return find(run, attempts)
    except OSError as error:
        logger.warning("the pictures of %s cannot be found: %s", run.path, error)
        return None


def _report(run: Path, job: JobRecord) -> Report | None:
    # An attempt that was lost after it had written one is not the last word.
    return read_report(run) if job.status is Status.SUCCEEDED else None
