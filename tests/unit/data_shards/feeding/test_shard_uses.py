"""Which shards are needed when, against going through every place of every step."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from data_shards.errors import PlanError
from data_shards.feeding.epochs import order_of_epoch
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.shard_uses import (
    cache_need,
    check_cache,
    cut_shards,
    held_shards,
    shard_uses,
    shards_at_once,
    wanted_shards,
)
from data_shards.manifest import load_manifest
from data_shards.order import steps_per_epoch


@st.composite
def plans(draw: st.DrawFn) -> ReaderPlan:
    replicas, ordered = draw(st.integers(1, 3)), draw(st.booleans())
    streams = 1 if ordered else replicas * draw(st.integers(1, 3))
    per_stream = draw(st.integers(1, 3)) * (replicas if ordered else 1)
    return ReaderPlan(
        location="nowhere",
        seed=draw(st.integers(0, 9)),
        global_batch_size=streams * per_stream,
        crop_size=1,
        num_streams=streams,
        window=draw(st.integers(1, 3)),
        replica=draw(st.integers(0, replicas - 1)),
        num_replicas=replicas,
        ordered=ordered,
    )


sizes = st.lists(st.integers(1, 7), min_size=1, max_size=12)


def needed(plan: ReaderPlan, shard_sizes: list[int], epoch: int) -> list[list[set[int]]]:
    """Which shards each step needs for each place of a replica, by stream."""
    order = order_of_epoch(plan, shard_sizes, epoch)
    shard_of_sample = np.repeat(np.arange(len(shard_sizes)), shard_sizes)
    per_stream = plan.global_batch_size // order.num_streams
    steps = []
    for step in range(steps_per_epoch(sum(shard_sizes), plan.global_batch_size)):
        samples, real = order.batch(step, plan.global_batch_size)
        streams: list[set[int]] = [set() for _ in range(order.num_streams)]
        for place in range(*plan.share.indices(plan.global_batch_size)):
            if real[place]:
                streams[place // per_stream].add(int(shard_of_sample[samples[place]]))
        steps.append(streams)
    return steps


@given(plans(), sizes, st.integers(0, 2))
def test_uses_go_from_the_first_step_to_the_last(
    plan: ReaderPlan, shard_sizes: list[int], epoch: int
) -> None:
    expected: dict[tuple[int, int], list[int]] = {}
    for step, streams in enumerate(needed(plan, shard_sizes, epoch)):
        for stream, shards in enumerate(streams):
            for shard in shards:
                expected.setdefault((stream, shard), []).append(step)
    rows = sorted((shard, steps[0], steps[-1]) for (_, shard), steps in expected.items())
    order = order_of_epoch(plan, shard_sizes, epoch)
    found = shard_uses(order, np.repeat(np.arange(len(shard_sizes)), shard_sizes), plan)
    assert sorted(map(tuple, found.tolist())) == rows
    assert np.all(np.diff(found[:, 1]) >= 0)


@given(plans(), sizes, st.data())
def test_what_a_step_needs_is_wanted_within_the_limit(
    plan: ReaderPlan, shard_sizes: list[int], data: st.DataObject
) -> None:
    """Streams of whole windows never read more at once than two of them each."""
    steps = needed(plan, shard_sizes, 0)
    step = data.draw(st.integers(0, len(steps) - 1))
    order = order_of_epoch(plan, shard_sizes, 0)
    uses = shard_uses(order, np.repeat(np.arange(len(shard_sizes)), shard_sizes), plan)
    limit = shards_at_once(plan)
    wanted = wanted_shards(uses, step, limit)
    assert len(wanted) == len(set(wanted)) <= limit
    everything = wanted_shards(uses, step, 10**9)
    assert wanted == everything[:limit]
    assert {shard for later in steps[step:] for one in later for shard in one} <= set(everything)
    # Windows of one sample a shard can be smaller than a batch; such a step reads several.
    per_stream = plan.global_batch_size // order.num_streams
    assume(min(shard_sizes) >= per_stream)
    assert set().union(*steps[step]) <= set(wanted)


def test_a_cache_too_small_for_the_plan_is_named(packed) -> None:
    manifest = load_manifest(packed)
    plan = ReaderPlan(
        location="x", seed=0, global_batch_size=8, crop_size=24, num_streams=1, window=1
    )
    largest = sorted(shard.size_bytes for shard in manifest.shards)[-2:]
    needed_bytes = sum(largest) + manifest.index.size_bytes + manifest.mean_image.size_bytes
    need = cache_need(plan, manifest)
    assert need == (needed_bytes, 2, 1, "x")
    check_cache([need], needed_bytes)
    with pytest.raises(
        PlanError,
        match=rf"may hold {needed_bytes - 1} bytes, and {needed_bytes} are needed at once where a "
        "node has all replicas: 2 shards for the 1 streams of x; raise ALEX",
    ):
        check_cache([need], needed_bytes - 1)
    check_cache([need, need], 2 * needed_bytes)
    with pytest.raises(PlanError, match="of x and 2 shards"):
        check_cache([need, need], 2 * needed_bytes - 1)


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_a_cache_is_held_to_all_streams_however_many_replicas_share_them(packed, replicas) -> None:
    plan = ReaderPlan(
        location="x",
        seed=0,
        global_batch_size=8,
        crop_size=24,
        num_streams=4,
        window=1,
        num_replicas=replicas,
    )
    assert cache_need(plan, load_manifest(packed))[1:3] == (4, 4)
    assert shards_at_once(plan) == 8 // replicas


@given(plans(), sizes)
def test_a_shard_that_several_streams_read_is_held_from_its_first_use_to_its_last(
    plan: ReaderPlan, shard_sizes: list[int]
) -> None:
    whole = replace(plan, replica=0, num_replicas=1)
    steps = needed(whole, shard_sizes, 0)
    readers: dict[int, set[int]] = {}
    used: dict[int, list[int]] = {}
    for step, streams in enumerate(steps):
        for stream, shards in enumerate(streams):
            for shard in shards:
                readers.setdefault(shard, set()).add(stream)
                used.setdefault(shard, []).append(step)
    order = order_of_epoch(plan, shard_sizes, 0)
    cut = cut_shards(order, np.repeat(np.arange(len(shard_sizes)), shard_sizes), plan)
    assert len(cut) < order.num_streams
    for step in range(len(steps)):
        expected = {
            shard
            for shard, streams in readers.items()
            if len(streams) > 1 and used[shard][0] <= step <= used[shard][-1]
        }
        assert set(held_shards(cut, step)) == expected
