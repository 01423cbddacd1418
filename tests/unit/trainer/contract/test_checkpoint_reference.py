from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.contract.checkpoint_reference import (
    BadReferenceError,
    JobReference,
    job_reference,
    named_checkpoints,
    with_checkpoints,
)
from trainer.contract.spec import JobSpec


def _spec(**over: Any) -> JobSpec:
    data = {"train": "nowhere", "validation": "nowhere"}
    return JobSpec.model_validate({"name": "x", "data": data, **over})


EVALUATION = _spec(kind="evaluate", evaluation={"checkpoints": ["job:a", "/runs/b"]})
FINE_TUNING = _spec(init_from={"checkpoint": "job:a@5", "new_layers": ["fc8"]})


@given(
    job_id=st.from_regex(r"[0-9a-f]{12}", fullmatch=True),
    step=st.none() | st.integers(0, 10**9),
)
def test_a_job_is_named_with_or_without_a_step(job_id: str, step: int | None) -> None:
    location = f"job:{job_id}" if step is None else f"job:{job_id}@{step}"
    assert job_reference(location) == JobReference(job_id, step)


@given(st.text(min_size=1).filter(lambda text: not text.startswith("job:")))
def test_anything_else_is_a_folder(location: str) -> None:
    assert job_reference(location) is None


@pytest.mark.parametrize(
    "location", ["job:", "job:a@", "job:a@x", "job:a@-1", "job:../a", "job:a b"]
)
def test_half_a_reference_is_none(location: str) -> None:
    with pytest.raises(BadReferenceError, match=r"write job:ID, job:ID@STEP or a folder"):
        job_reference(location)


def test_every_checkpoint_of_a_spec_is_named_with_its_field() -> None:
    assert list(named_checkpoints(EVALUATION)) == [
        ("evaluation.checkpoints.0", "job:a"),
        ("evaluation.checkpoints.1", "/runs/b"),
    ]
    assert list(named_checkpoints(FINE_TUNING)) == [("init_from.checkpoint", "job:a@5")]
    assert list(named_checkpoints(_spec())) == []


@pytest.mark.parametrize("spec", [EVALUATION, FINE_TUNING, _spec()])
def test_locations_are_replaced_and_nothing_else(spec: JobSpec) -> None:
    folders = {field: f"/true/{field}" for field, _ in named_checkpoints(spec)}
    after = with_checkpoints(spec, folders)
    assert dict(named_checkpoints(after)) == folders
    assert with_checkpoints(after, dict(named_checkpoints(spec))) == spec
    assert JobSpec.model_validate(after.model_dump()) == after
