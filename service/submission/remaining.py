"""How long jobs that live have still to work, by their own rates or their plans. Pure."""

from collections.abc import Mapping
from contextlib import suppress

from pydantic import ValidationError

from service.jobs.progress import seconds_left
from service.jobs.records import JobRecord
from service.submission.duration import VIEWS
from service.views.plans import PlannedSpeed
from trainer.contract.events import Progress
from trainer.contract.status import Status


def read_speeds(speeds: Mapping[str, str]) -> Mapping[str, PlannedSpeed]:
    """Return the speeds of plans, which are JSON, by job; of one that cannot be read, none."""
    found: dict[str, PlannedSpeed] = {}
    for job_id, speed in speeds.items():
        with suppress(ValidationError):
            found[job_id] = PlannedSpeed.model_validate_json(speed)
    return found


def work_left_s(job: JobRecord, planned: PlannedSpeed | None) -> float | None:
    """Return the seconds of work that a job has left, None if that is not known.

    `planned`: of its plan. A job that does not run begins again at its last checkpoint. Of a
    calibration only bounds are known, which slow hardware passes (`CalibrationSpec.seconds`).
    """
    if job.spec.kind == "calibrate":
        return None
    progress = job.progress
    if progress is not None and job.status is not Status.RUNNING:
        progress = _resumed(progress, job.checkpoint_step or 0)
    if progress is None or progress.step == 0:
        return None if planned is None else planned.duration_s
    left_s = seconds_left(job.spec, progress, job.evaluation)
    evaluations_s = _evaluations_s(job, planned)
    return None if left_s is None or evaluations_s is None else left_s + evaluations_s


def _resumed(progress: Progress, step: int) -> Progress:
    share = step / progress.step if progress.step > 0 else 0.0
    return progress.model_copy(update={"step": step, "epoch": progress.epoch * share})


def _evaluations_s(job: JobRecord, planned: PlannedSpeed | None) -> float | None:
    """Return what evaluations take that the time left by progress leaves out; None: not known."""
    if job.spec.kind != "train":
        return 0.0
    last, protocol = job.evaluation, job.spec.evaluation.protocol
    if last is None:
        evaluations = None if planned is None else planned.evaluations
        return None if evaluations is None else evaluations.duration_s
    if last.seconds is None:
        return None
    if protocol == last.protocol:
        return 0.0
    # Assumed, as in plans: a view takes as long by either protocol.
    return last.seconds * VIEWS[protocol] / VIEWS[last.protocol]
