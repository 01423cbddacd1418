import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.order import (
    EpochOrder,
    epoch_order,
    packing_order,
    sequential_order,
    steps_per_epoch,
)

shard_sizes = st.lists(st.integers(1, 30), min_size=1, max_size=12)
seeds = st.integers(0, 2**63 - 1)


@given(shard_sizes, seeds, st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 5))
def test_every_sample_once_and_streams_equal(sizes, seed, epoch, num_streams, window):
    order = epoch_order(sizes, seed=seed, epoch=epoch, num_streams=num_streams, window=window)
    assert np.array_equal(np.sort(order.samples), np.arange(sum(sizes)))
    lengths = np.diff(order.stream_starts)
    assert len(lengths) == num_streams
    assert lengths.max() - lengths.min() <= 1


@given(shard_sizes, seeds, st.integers(1, 8), st.integers(1, 5))
def test_batches_of_an_epoch_hold_each_sample_once(sizes, seed, num_streams, per_stream):
    order = epoch_order(sizes, seed=seed, epoch=3, num_streams=num_streams, window=2)
    batch_size = num_streams * per_stream
    batches = [
        order.batch(step, batch_size) for step in range(steps_per_epoch(sum(sizes), batch_size))
    ]
    seen = np.concatenate([samples[real] for samples, real in batches])
    assert np.array_equal(np.sort(seen), np.arange(sum(sizes)))
    # No step is empty, and none is missing.
    assert all(real.any() for _, real in batches)
    assert not order.batch(len(batches), batch_size)[1].any()


@given(shard_sizes, seeds, st.integers(1, 6), st.integers(1, 5))
def test_streams_fill_their_own_places(sizes, seed, num_streams, per_stream):
    order = epoch_order(sizes, seed=seed, epoch=0, num_streams=num_streams, window=3)
    for step in range(steps_per_epoch(sum(sizes), num_streams * per_stream)):
        samples, real = order.batch(step, num_streams * per_stream)
        for stream in range(num_streams):
            places = slice(stream * per_stream, (stream + 1) * per_stream)
            begin = order.stream_starts[stream] + step * per_stream
            end = min(begin + per_stream, order.stream_starts[stream + 1])
            expected = order.samples[begin:end] if begin < end else []
            assert np.array_equal(samples[places][real[places]], expected)


@given(shard_sizes, seeds, st.integers(1, 6), st.integers(1, 5))
def test_samples_stay_inside_their_window(sizes, seed, num_streams, window):
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    # One stream and a window of one shard lay the permuted shards bare.
    bare = epoch_order(sizes, seed=seed, epoch=5, num_streams=1, window=1)
    order = epoch_order(sizes, seed=seed, epoch=5, num_streams=num_streams, window=window)
    for begin, end in zip(order.stream_starts[:-1], order.stream_starts[1:], strict=True):
        pieces = list(dict.fromkeys(shard_of[bare.samples[begin:end]].tolist()))
        rank = [pieces.index(shard) // window for shard in shard_of[order.samples[begin:end]]]
        assert rank == sorted(rank)


def test_shuffles_shards_and_samples_by_seed_and_epoch():
    def samples(seed: int, epoch: int) -> list[int]:
        order = epoch_order([50] * 8, seed=seed, epoch=epoch, num_streams=4, window=2)
        return order.samples.tolist()

    assert samples(1, 0) == samples(1, 0)
    distinct = {tuple(samples(seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(distinct) == 16


def test_each_place_is_about_as_likely():
    # Where sample 0 goes over 3,000 epochs, chi-squared with 15 degrees of freedom.
    places = [
        epoch_order([4] * 4, seed=7, epoch=epoch, num_streams=1, window=4).samples.tolist().index(0)
        for epoch in range(3000)
    ]
    counts = np.bincount(places, minlength=16)
    expected = 3000 / 16
    assert ((counts - expected) ** 2 / expected).sum() < 45  # p about 1e-4


def test_order_is_frozen():
    # A change here changes every run and orphans every checkpoint.
    order = epoch_order([7, 11, 13, 5], seed=42, epoch=1, num_streams=3, window=2)
    digest = hashlib.sha256(order.samples.astype("<i8").tobytes()).hexdigest()
    assert digest.startswith("a90d78f259a8475b")
    digest = hashlib.sha256(packing_order(100, seed=42).astype("<i8").tobytes()).hexdigest()
    assert digest.startswith("54abb2fc181921d7")


@given(st.integers(1, 200), st.integers(1, 40))
def test_sequential_order_counts_up(num_samples, batch_size):
    order = sequential_order(num_samples)
    seen: list[int] = []
    for step in range(steps_per_epoch(num_samples, batch_size)):
        samples, real = order.batch(step, batch_size)
        seen += samples[real].tolist()
    assert seen == list(range(num_samples))


@given(st.integers(1, 300), seeds)
def test_packing_order_is_a_permutation(num_samples, seed):
    order = packing_order(num_samples, seed=seed)
    assert np.array_equal(np.sort(order), np.arange(num_samples))


def test_refuses_a_batch_that_streams_do_not_divide():
    order = EpochOrder(samples=np.arange(6), stream_starts=np.array([0, 3, 6]))
    with pytest.raises(AssertionError):
        order.batch(0, 3)
