"""What a quota refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.quotas import (
    UNLIMITED,
    Quota,
    QuotaExceededError,
    Usage,
    check_submission,
    is_gpu_time_spent,
)

usages = st.builds(
    Usage,
    active_jobs=st.integers(0, 100),
    queued_jobs=st.integers(0, 100),
    gpu_hours=st.floats(0, 1e6),
    disk_bytes=st.integers(0, 2**50),
)


@given(usage=usages)
def test_without_a_quota_nothing_is_refused(usage: Usage) -> None:
    check_submission("ann", UNLIMITED, usage)


@pytest.mark.parametrize(
    ("quota", "below", "reached", "passes"),
    [
        (Quota(max_queued_jobs=3), Usage(queued_jobs=2), Usage(queued_jobs=3), True),
        (Quota(gpu_hours=1.5), Usage(gpu_hours=1.4), Usage(gpu_hours=1.5), False),
        (Quota(disk_bytes=10), Usage(disk_bytes=9), Usage(disk_bytes=10), False),
        (Quota(gpu_hours=0), None, Usage(), False),
        (Quota(max_queued_jobs=0), None, Usage(), True),
    ],
)
def test_a_quota_that_is_used_up_is_named(
    quota: Quota, below: Usage | None, reached: Usage, *, passes: bool
) -> None:
    if below is not None:
        check_submission("ann", quota, below)
    (name,) = (name for name, value in vars(quota).items() if value is not None)
    with pytest.raises(QuotaExceededError, match=f"quota {name} of ann") as refused:
        check_submission("ann", quota, reached)
    assert refused.value.passes == passes


def test_jobs_that_run_keep_nobody_from_submitting() -> None:
    check_submission("ann", Quota(max_active_jobs=0), Usage(active_jobs=5))


@given(hours=st.floats(0, 1e6), limit=st.none() | st.floats(0, 1e6))
def test_gpu_time_is_spent_at_its_limit(hours: float, limit: float | None) -> None:
    spent = is_gpu_time_spent(Quota(gpu_hours=limit), hours)
    assert spent == (limit is not None and hours >= limit)
