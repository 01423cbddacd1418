"""Jobs and attempts to decide about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from service.jobs.records import AttemptRecord, JobRecord
from tests.unit.service.conftest import make_spec
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Desired, Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RETRY = {"max_attempts": 3, "backoff_s": 2, "max_backoff_s": 60}
SPEC = make_spec(retry=RETRY)
TIMED = make_spec(retry=RETRY | {"deadline_s": 3600})
PAST = NOW + timedelta(hours=1)
HUNG = Outcome(outcome="failed", reason=Reason.HUNG, message="silent")


def job(**changes: object) -> JobRecord:
    base = JobRecord(
        seq=1,
        id="abc",
        spec=SPEC,
        status=Status.RUNNING,
        desired=Desired.RUN,
        attempt=1,
        num_failures=0,
        reason=None,
        message=None,
        created_at=NOW,
        status_since=NOW,
        started_at=NOW,
        finished_at=None,
        retry_at=None,
        progress=None,
        evaluation=None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # any field, by name


def attempt(*, submitted: bool = True, events_through: int = 1) -> AttemptRecord:
    return AttemptRecord(
        job_id="abc",
        number=1,
        token_sha256=None,
        accelerator="cpu",
        resume_from=None,
        created_at=NOW,
        submitted_at=NOW if submitted else None,
        ended_at=None,
        outcome=None,
        worker_pids=(),
        events_through=events_through,
    )
