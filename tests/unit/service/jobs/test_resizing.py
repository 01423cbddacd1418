import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.jobs.lifecycle import RefusedError
from service.jobs.resizing import ReplicasRefusedError, resized
from tests.unit.service.conftest import make_spec
from tests.unit.service.jobs.records import job
from trainer.contract.status import Status

SPEC = make_spec(data={"train": "/d/t", "validation": "/d/v", "num_streams": 8})
PAUSED = job(status=Status.PAUSED, spec=SPEC)


@given(st.integers(1, 1024))
def test_whatever_divides_the_streams_is_taken_and_the_weights_stay_the_same(
    replicas: int,
) -> None:
    if 8 % replicas:
        with pytest.raises(ReplicasRefusedError, match="of this job 1, 2, 4, 8 would fit"):
            resized(PAUSED, replicas)
    else:
        spec = resized(PAUSED, replicas)
        assert spec.scale.replicas == replicas
        assert spec.sha256() == SPEC.sha256()


def test_what_would_not_divide_by_micro_batches_is_refused() -> None:
    optim = {"global_batch_size": 128, "micro_batch_size": 32}
    spec = make_spec(data={"train": "/d/t", "validation": "/d/v", "num_streams": 8}, optim=optim)
    with pytest.raises(ReplicasRefusedError, match="of this job 1, 2, 4 would fit"):
        resized(job(status=Status.PAUSED, spec=spec), 8)


@given(st.sampled_from(sorted(set(Status) - {Status.PAUSED})), st.sampled_from([1, 2, 4]))
def test_only_a_paused_job_is_resized(status: Status, replicas: int) -> None:
    other = job(status=status, spec=SPEC)
    assume(replicas != SPEC.scale.replicas)
    with pytest.raises(RefusedError, match="pause it"):
        resized(other, replicas)
    assert resized(other, SPEC.scale.replicas) is other.spec
