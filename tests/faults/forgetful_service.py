"""A control plane whose submissions have no names that the next one would know."""

import os
from typing import Any

from service.cluster.ray_jobs import RayJob, RayJobs
from tests.faults.mortal_service import die_where_told

_submit, _job = RayJobs.submit, RayJobs.job


def _submit_as_mine(jobs: RayJobs, submission_id: str, *given: Any, **options: Any) -> None:
    _submit(jobs, f"{submission_id}-{os.getpid()}", *given, **options)


def _mine(jobs: RayJobs, submission_id: str) -> RayJob:
    return _job(jobs, f"{submission_id}-{os.getpid()}")


if __name__ == "__main__":
    RayJobs.submit = _submit_as_mine  # type: ignore[method-assign, assignment]
    RayJobs.job = _mine  # type: ignore[method-assign, assignment]
    die_where_told()
