"""What deleted jobs counted is counted on."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from service.access.caller import EVERYONE
from service.jobs.lifecycle import Decision
from service.jobs.records import JobRecord
from service.metrics import exposition
from service.store.attempts import NewAttempt
from service.store.deletion import delete_job
from service.store.store import Store
from tests.unit.service.conftest import job_in, make_spec, now
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import LIVE, TERMINAL, Status

Counters = dict[tuple[str, ...], float]

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_numbers = itertools.count()


@dataclass(frozen=True)
class Step:
    """What happens to one of the jobs to which it may."""

    act: Callable[[Store, JobRecord, "Step"], object]
    statuses: frozenset[Status]
    pick: int
    reason: Reason
    at: datetime


def begin(store: Store, job: JobRecord, step: Step) -> None:
    new = NewAttempt(number=job.attempt + 1, accelerator="cpu", resume_from=None)
    store.begin_attempt(job, new, step.at)


def fail(store: Store, job: JobRecord, step: Step) -> None:
    ended = Outcome(outcome="failed", reason=step.reason)
    store.apply(job, Decision(status=Status.RETRYING, ended=ended, reason=step.reason), step.at)


def end(store: Store, job: JobRecord, step: Step) -> None:
    ends = {Status.QUEUED: Status.CANCELLED, Status.STARTING: Status.SUCCEEDED}
    status = Status.FAILED if step.pick % 2 else ends.get(job.status, Status.FAILED)
    reason = step.reason if status is Status.FAILED else None
    store.apply(job, Decision(status=status, reason=reason), step.at)


def delete(store: Store, job: JobRecord, step: Step) -> None:
    store.write(lambda connection: delete_job(connection, job.id, EVERYONE, step.at))


_ACTS = {
    begin: frozenset({Status.QUEUED, Status.RETRYING}),
    fail: frozenset({Status.STARTING}),
    end: frozenset({Status.QUEUED, Status.STARTING, Status.RETRYING}),
    delete: TERMINAL,
}
_STEPS = st.builds(
    lambda act, **drawn: Step(act, _ACTS[act], **drawn),
    st.sampled_from(list(_ACTS)),
    pick=st.integers(0, 7),
    reason=st.sampled_from(list(Reason)),
    # Clocks go back as well.
    at=st.floats(-10, 1e6).map(lambda s: _BEGAN + timedelta(seconds=s)),
)


def counters(store: Store) -> Counters:
    """Return what /metrics has of jobs that is never to fall."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exposition(store).decode())
        if family.type in ("counter", "histogram") and family.name.startswith("alexnet_")
        for sample in family.samples
    }


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(_STEPS | st.none(), max_size=12))
def test_no_counter_falls(store: Store, steps: list[Step | None]) -> None:
    before = counters(store)
    for step in steps:
        if step is None:
            store.submit(f"job{next(_numbers)}", make_spec(), _BEGAN)
        else:
            readable = [job for job in store.jobs(limit=1000) if isinstance(job, JobRecord)]
            found = [job for job in readable if job.status in step.statuses]
            for job in found[step.pick : step.pick + 1]:
                step.act(store, job, step)
        after = counters(store)
        is_deletion = step is not None and step.act is delete
        assert not is_deletion or after == before
        assert {series: value for series, value in before.items() if after[series] < value} == {}
        before = after


def test_what_is_deleted_at_once_is_counted_once(store: Store) -> None:
    for number, status in enumerate(sorted(TERMINAL) * 4):
        job_in(store, status, f"ended{number}")
    for status in LIVE:
        job_in(store, status, f"of{status}")
    before = counters(store)

    def delete_one(number: int) -> None:
        store.write(lambda connection: delete_job(connection, f"ended{number}", EVERYONE, now()))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(delete_one, range(12)))
    assert counters(store) == before
    assert before["alexnet_jobs_finished_total", "FAILED"] == 4
