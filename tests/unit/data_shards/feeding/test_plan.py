from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from data_shards.errors import PlanError
from data_shards.feeding.plan import ReaderPlan
from data_shards.manifest import load_manifest

small = st.integers(1, 12)


def plan_for(folder: Path, **changes) -> ReaderPlan:
    fields = {"location": str(folder), "seed": 0, "global_batch_size": 8, "crop_size": 24}
    return ReaderPlan(**{**fields, **changes})


@given(st.integers(1, 96), small, small, st.booleans())
def test_what_passes_gives_every_replica_whole_streams(packed, batch, streams, replicas, ordered):
    plan = plan_for(
        packed,
        global_batch_size=batch,
        num_streams=streams,
        num_replicas=replicas,
        ordered=ordered,
    )
    try:
        plan.check(load_manifest(packed))
    except PlanError:
        assert batch % replicas or (not ordered and (batch % streams or streams % replicas))
        return
    assert plan.replica_batch_size * replicas == batch
    if not ordered:
        # A replica's places are those of its streams.
        assert plan.replica_batch_size % (batch // streams) == 0


@given(st.integers(-2, 5), st.integers(1, 4))
def test_a_replica_is_one_of_its_number(packed, replica, replicas):
    assume(8 % replicas == 0)
    plan = plan_for(packed, replica=replica, num_replicas=replicas, ordered=True)
    if 0 <= replica < replicas:
        plan.check(load_manifest(packed))
    else:
        with pytest.raises(PlanError, match=f"there is no replica {replica} among {replicas}"):
            plan.check(load_manifest(packed))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_streams": 0}, "0 streams do not divide the global batch of 8"),
        ({"num_replicas": 0, "ordered": True}, "0 replicas do not divide"),
        ({"images_per_crop": 0}, "0 images cannot share a crop; use 1 or more"),
        ({"crop_size": 33}, "pack them larger, or choose a smaller input"),
        ({"crop_size": 0}, "a crop of 0 pixels does not fit images of 32"),
    ],
)
def test_what_cannot_be_is_refused(packed, changes, message):
    with pytest.raises(PlanError, match=message):
        plan_for(packed, **changes).check(load_manifest(packed))
