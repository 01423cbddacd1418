"""Jobs as they are shown: what is answered, without being checked again, is the view declared."""

from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from service.api.present import as_json, detail_fields, job_fields, job_view
from service.jobs.records import AttemptRecord, JobRecord
from service.store.detail import Detail
from service.views.jobs import JobDetail, JobPage
from tests.unit.service.conftest import make_spec
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import Evaluated, Phase, Progress
from trainer.contract.status import Desired, Status

ROOT = Path("/runs")
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, 2**31 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(min_value=datetime(1, 1, 1), timezones=st.just(UTC))
specs = st.builds(
    make_spec,
    labels=st.dictionaries(st.from_regex(r"\A[a-z]{1,9}\Z"), st.sampled_from(["", "a b"])),
    optim=st.fixed_dictionaries({"learning_rate": st.floats(1e-9, 1.0)}),
)
steps = st.integers(0, 10_000)
told = st.builds(
    Progress,
    step=steps,
    planned_steps=steps,
    epoch=floats,
    loss=floats,
    learning_rate=floats,
    # A rate may be so small that the time that is left is infinite.
    images_per_second=floats,
    data_wait_ratio=st.floats(0, 1),
    phase_seconds=st.dictionaries(st.sampled_from(get_args(Phase)), st.floats(0, 1e6)),
)
measured = st.builds(
    Evaluated,
    step=steps,
    num_samples=counts,
    epoch=floats,
    loss=floats,
    top1=st.floats(0, 1),
    top5=st.floats(0, 1),
    seconds=st.none() | st.floats(0, 1e9),
)
jobs = st.builds(
    JobRecord,
    seq=counts,
    id=st.uuids().map(str),
    spec=specs,
    owner=st.none() | text,
    private=st.booleans(),
    status=st.sampled_from(Status),
    desired=st.sampled_from(Desired),
    attempt=counts,
    num_failures=counts,
    reason=st.none() | st.sampled_from(Reason),
    message=st.none() | text,
    created_at=moments,
    status_since=moments,
    started_at=st.none() | moments,
    finished_at=st.none() | moments,
    retry_at=st.none() | moments,
    progress=st.none() | told,
    evaluation=st.none() | measured,
    cloned_from=st.none() | text,
    checkpoint_step=st.none() | steps,
    checkpoint_at=st.none() | moments,
)
attempts = st.builds(
    AttemptRecord,
    job_id=st.just("a"),
    accelerator=st.sampled_from(["cpu", "gpu"]),
    created_at=moments,
    submitted_at=st.none() | moments,
    ended_at=st.none() | moments,
    outcome=st.none() | st.builds(Outcome, outcome=st.just("failed"), message=text),
    worker_pids=st.lists(counts, max_size=2).map(tuple),
)


@given(found=st.lists(jobs, max_size=3), unreadable=st.lists(text, max_size=2))
def test_a_page_is_the_one_that_is_declared(found: list[JobRecord], unreadable: list[str]) -> None:
    fields = {
        "jobs": [job_fields(job, ROOT) for job in found],
        "unreadable": unreadable,
        "next_cursor": None,
    }
    declared = JobPage(
        jobs=tuple(job_view(job, ROOT) for job in found),
        unreadable=tuple(unreadable),
        next_cursor=None,
    )
    assert as_json(fields).body == declared.model_dump_json().encode()


@given(job=jobs, begun=st.lists(attempts, max_size=2))
def test_a_job_in_detail_is_the_one_that_is_declared(
    job: JobRecord, begun: list[AttemptRecord]
) -> None:
    fields = detail_fields(Detail(job=job, attempts=begun, plan=None), ROOT)
    declared = JobDetail(**fields)
    assert as_json(fields).body == declared.model_dump_json().encode()
