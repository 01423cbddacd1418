"""Jobs that run, as far as the service can tell, and what their attempts report."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from service.jobs.lifecycle import Decision
from service.store.store import Store
from tests.bench.service.filled_store import begin, progress, spec_for
from tests.bench.service.load import Request
from trainer.contract.attempt import AttemptOrder
from trainer.contract.events import AttemptEvent, EventBatch
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import Status


def add_live_jobs(store_url: str, run_root: Path, folder: Path, num_jobs: int) -> list[str]:
    """Store jobs that run, with the folders of their attempts; return their ids."""
    store = Store(store_url)
    ids = [f"{number:012x}" for number in range(1 << 40, (1 << 40) + num_jobs)]
    now = datetime.now(UTC)
    for number, job_id in enumerate(ids):
        store.submit(job_id, spec_for(folder, number), now)
        token = token_of(job_id)
        begin(store, job_id, hashlib.sha256(token.encode()).hexdigest())
        store.note_submitted(job_id, 1, now)
        order = AttemptOrder(
            job_id=job_id,
            attempt=1,
            spec=spec_for(folder, number),
            accelerator="cpu",
            resume_from=None,
            token=token,
        )
        write_order(RunDirectory(run_root / job_id).attempt(1), order)
        store.apply(store.job(job_id), Decision(status=Status.RUNNING), now)
    store.close()
    return ids


def token_of(job_id: str) -> str:
    """Return the token of a job's attempt."""
    return f"token-of-{job_id}"


def reports(ids: list[str], points_per_batch: int, num_batches: int) -> list[Request]:
    """Return batches of progress, from one job after another."""
    return [_report(ids, number, points_per_batch) for number in range(num_batches)]


def _report(ids: list[str], number: int, points_per_batch: int) -> Request:
    turn, which = divmod(number, len(ids))
    job_id = ids[which]
    first = turn * points_per_batch + 1
    batch = EventBatch(
        events=tuple(
            AttemptEvent(number=one, at=datetime.now(UTC), data=progress(one))
            for one in range(first, first + points_per_batch)
        )
    )
    return Request(
        method="POST",
        path=f"/jobs/{job_id}/attempts/1/events",
        headers={
            "Authorization": f"Bearer {token_of(job_id)}",
            "Content-Type": "application/json",
        },
        body=json.dumps(batch.model_dump(mode="json")),
    )
