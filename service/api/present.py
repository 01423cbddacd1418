"""Records of the store, as the API shows them."""

import logging
from pathlib import Path
from typing import Any

from fastapi import Response
from pydantic import ValidationError
from pydantic_core import to_json

from service.jobs.progress import bottleneck, fraction, seconds_left
from service.jobs.records import AttemptRecord, EventRecord, JobRecord
from service.run_files.kept_checkpoints import KeptCheckpoint
from service.store.detail import Detail
from service.views.jobs import (
    Attempt,
    Checkpoint,
    Event,
    Job,
    JobProgress,
    View,
)
from service.views.plans import Plan
from trainer.contract.checkpoint import WEIGHTS_NAME
from trainer.contract.report import Report, parse_report
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import Status

logger = logging.getLogger(__name__)

Fields = dict[str, Any]
"""Of a view, by name: a test holds them to it."""


def as_json(view: View | Fields) -> Response:
    """Answer with a view, or with its fields, which records hold checked already.

    FastAPI would carry a view to another thread first, to check it again.
    """
    content = to_json(view, inf_nan_mode="null")
    return Response(content, media_type="application/json")


def job_view(job: JobRecord, run_root: Path) -> Job:
    """Show a job."""
    return Job(**job_fields(job, run_root))


def detail_fields(detail: Detail, run_root: Path) -> Fields:
    """Show a job with its attempts, its plan and what came of it: the fields of a JobDetail."""
    job, plan = detail.job, detail.plan
    shown = tuple(attempt_view(attempt) for attempt in detail.attempts)
    return {
        **job_fields(job, run_root),
        "attempts": shown,
        "worker_pids": shown[-1].worker_pids if shown else (),
        "report": read_report(run_root / job.id) if job.status is Status.SUCCEEDED else None,
        "plan": None if plan is None else _plan(job.id, plan),
    }


def _plan(job_id: str, plan: str) -> Plan | None:
    try:
        return Plan.model_validate_json(plan)
    except ValidationError as error:
        # It was told when the job was accepted; nothing hangs on it.
        logger.warning("the plan of job %s cannot be read: %s", job_id, error)
        return None


def job_fields(job: JobRecord, run_root: Path) -> Fields:
    """Show a job: the fields of a Job, in their order."""
    return {
        "id": job.id,
        "name": job.spec.name,
        "owner": job.owner,
        "private": job.private,
        "status": job.status,
        "desired": job.desired,
        "reason": job.reason,
        "message": job.message,
        "attempt": job.attempt,
        "created_at": job.created_at,
        "status_since": job.status_since,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "retry_at": job.retry_at,
        "progress": _progress_fields(job),
        "evaluation": job.evaluation,
        "run_directory": str(run_root / job.id),
        "cloned_from": job.cloned_from,
        "spec": job.spec,
    }


def progress_view(job: JobRecord) -> JobProgress | None:
    """Show how far a job is; None before its first step."""
    fields = _progress_fields(job)
    return None if fields is None else JobProgress(**fields)


def _progress_fields(job: JobRecord) -> Fields | None:
    told = job.progress
    if told is None:
        return None
    saved = None
    if job.checkpoint_step is not None and job.checkpoint_at is not None:
        saved = {"step": job.checkpoint_step, "saved_at": job.checkpoint_at}
    runs = job.status is Status.RUNNING
    return {
        "step": told.step,
        "planned_steps": told.planned_steps,
        "fraction": fraction(told),
        "epoch": told.epoch,
        "loss": told.loss,
        "learning_rate": told.learning_rate,
        "images_per_second": told.images_per_second,
        "eta_s": seconds_left(job.spec, told, job.evaluation) if runs else None,
        "data_wait_ratio": told.data_wait_ratio,
        "phase_seconds": told.phase_seconds,
        "bottleneck": bottleneck(told),
        "last_checkpoint": saved,
    }


def read_report(run: Path) -> Report | None:
    """Read what came of a job; None: there is no report, or none that can be read."""
    file = RunDirectory(run).report
    try:
        return parse_report(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        # The job's status does not hang on it; whoever looks sees that it is not there.
        logger.warning("%s cannot be read: %s", file, error)
        return None


def attempt_view(attempt: AttemptRecord) -> Attempt:
    """Show an attempt; never its token."""
    return Attempt(
        number=attempt.number,
        submission_id=attempt.submission_id,
        accelerator=attempt.accelerator,
        resume_from=attempt.resume_from,
        created_at=attempt.created_at,
        submitted_at=attempt.submitted_at,
        ended_at=attempt.ended_at,
        # Before its end it is a verdict, of which something else may still come.
        outcome=None if attempt.ended_at is None else attempt.outcome,
        worker_pids=attempt.worker_pids,
    )


def event_view(event: EventRecord) -> Event:
    """Show an event."""
    return Event(number=event.number, at=event.at, attempt=event.attempt, data=event.data)


def checkpoint_view(kept: KeptCheckpoint, run: Path, loss: float | None) -> Checkpoint:
    """Show a checkpoint of a run directory."""
    manifest = kept.checkpoint.manifest
    return Checkpoint(
        attempt=manifest.attempt,
        step=manifest.step,
        epoch=manifest.epoch,
        saved_at=kept.saved_at,
        path=kept.checkpoint.folder.relative_to(run).as_posix(),
        size_bytes=sum(file.size_bytes for file in manifest.files.values()),
        weights_sha256=manifest.files[WEIGHTS_NAME].sha256,
        loss=loss,
        top1=manifest.top1,
        kept_because=kept.because,
    )
