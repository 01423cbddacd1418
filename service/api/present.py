"""Records of the store, as the API shows them."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.jobs.records import AttemptRecord, CheckpointRecord, EventRecord, JobRecord
from service.plan_views import Plan
from service.views import Attempt, Checkpoint, Event, Job, JobDetail
from trainer.contract.checkpoint_folder import CheckpointError, list_folders, read_manifest
from trainer.contract.report import Report, parse_report
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import Status

logger = logging.getLogger(__name__)


def job_view(job: JobRecord, run_root: Path) -> Job:
    """Show a job."""
    return Job(**_job_fields(job, run_root))


def job_detail(job: JobRecord, attempts: Iterable[AttemptRecord], run_root: Path) -> JobDetail:
    """Show a job with its attempts and what came of it."""
    shown = tuple(attempt_view(attempt) for attempt in attempts)
    return JobDetail(
        attempts=shown,
        worker_pids=shown[-1].worker_pids if shown else (),
        report=read_report(run_root / job.id) if job.status is Status.SUCCEEDED else None,
        plan=_plan(job),
        **_job_fields(job, run_root),
    )


def _plan(job: JobRecord) -> Plan | None:
    try:
        return None if job.plan is None else Plan.model_validate(job.plan)
    except ValidationError as error:
        # It was told when the job was accepted; nothing hangs on it.
        logger.warning("the plan of job %s cannot be read: %s", job.id, error)
        return None


def _job_fields(job: JobRecord, run_root: Path) -> dict[str, Any]:
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
        "progress": job.progress,
        "evaluation": job.evaluation,
        "run_directory": str(run_root / job.id),
        "cloned_from": job.cloned_from,
        "spec": job.spec,
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
        outcome=attempt.outcome,
        worker_pids=attempt.worker_pids,
    )


def event_view(event: EventRecord) -> Event:
    """Show an event."""
    return Event(number=event.number, at=event.at, attempt=event.attempt, data=event.data)


def kept_checkpoints(records: Iterable[CheckpointRecord], run: Path) -> tuple[Checkpoint, ...]:
    """Show the checkpoints of the lineage that are there, their files of the size they had.

    Digests are not compared, which would read every byte; whoever loads one does.
    """
    lineage = set(list_folders(RunDirectory(run)))
    return tuple(
        Checkpoint.model_validate(record, from_attributes=True)
        for record in records
        if (run / record.path) in lineage and _has_its_sizes(run / record.path)
    )


def _has_its_sizes(checkpoint: Path) -> bool:
    try:
        return all(
            (checkpoint / name).stat().st_size == entry.size_bytes
            for name, entry in read_manifest(checkpoint).files.items()
        )
    except (CheckpointError, OSError):
        return False
