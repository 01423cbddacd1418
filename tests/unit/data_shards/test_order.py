import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.feeding.plan import ReaderPlan
from data_shards.order import (
    EpochOrder,
    epoch_order,
    packing_order,
    sequential_order,
    steps_per_epoch,
)

shard_sizes = st.lists(st.integers(1, 30), min_size=1, max_size=12)
seeds = st.integers(0, 2**63 - 1)
# ILSVRC-2012's training set in shards of a thousand.
IMAGENET = [1000] * 1281 + [167]


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
            expected = order.samples[begin : max(begin, end)]
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


@pytest.mark.parametrize(
    ("sizes", "numbers", "digest"),
    [
        ([7, 11, 13, 5], (42, 1, 3, 2), "a90d78f259a8475b"),
        (IMAGENET, (0, 0, 8, 4), "9c12641b43b22e4c"),
        (IMAGENET, (2**63, 89, 32, 64), "0ed895c6929bcd32"),
        ([10, 10, 10, 7], (5, 3, 4, 2), "88b646699be31bce"),
        ([3, 4], (1, 0, 64, 1), "81845a01dafa45c9"),
        ([1], (1, 2, 1, 1), "af5570f5a1810b7a"),
    ],
)
def test_order_is_frozen(sizes, numbers, digest):
    # A change here changes every run and orphans every checkpoint.
    seed, epoch, num_streams, window = numbers
    order = epoch_order(sizes, seed=seed, epoch=epoch, num_streams=num_streams, window=window)
    content = order.samples.astype("<i8").tobytes()
    assert hashlib.sha256(content).hexdigest().startswith(digest)


def test_packing_order_is_frozen():
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


def literally(
    sizes: Sequence[int], *, seed: int, epoch: int, num_streams: int, window: int
) -> list[list[int]]:
    """Return the streams of an epoch, transcribed word by word from what `epoch_order` promises."""

    def raw(count: int, counter: int) -> list[int]:
        key = np.array([seed, epoch], dtype=np.uint64)
        return np.random.Philox(key=key, counter=counter).random_raw(count).tolist()

    def shuffled(things: list[int], keys: list[int]) -> list[int]:
        # Sorted by the keys, of which the low bits are the places.
        bits = max(len(things) - 1, 1).bit_length()
        places = sorted(range(len(things)), key=lambda place: (keys[place] >> bits, place))
        return [things[place] for place in places]

    firsts = [sum(sizes[:shard]) for shard in range(len(sizes))]
    sequence = [
        (shard, firsts[shard] + number)
        for shard in shuffled(list(range(len(sizes))), raw(len(sizes), 0))
        for number in range(sizes[shard])
    ]
    keys = raw(len(sequence), 1 << 192)
    streams = []
    for stream in range(num_streams):
        begin, end = (len(sequence) * edge // num_streams for edge in (stream, stream + 1))
        samples: list[int] = []
        while begin < end:
            shards = list(dict.fromkeys(shard for shard, _ in sequence[begin:end]))[:window]
            inside = [sample for shard, sample in sequence[begin:end] if shard in shards]
            samples += shuffled(inside, keys[begin : begin + len(inside)])
            begin += len(inside)
        streams.append(samples)
    return streams


def flat(lists: Iterable[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(lists))


Shape = tuple[list[int], int, int, int, int, int, int]


def check_promises(shape: Shape) -> None:
    """Check all that is promised of an epoch, in one shape."""
    sizes, seed, epoch, num_streams, window, per_stream, num_replicas = shape
    order = epoch_order(sizes, seed=seed, epoch=epoch, num_streams=num_streams, window=window)
    streams = literally(sizes, seed=seed, epoch=epoch, num_streams=num_streams, window=window)
    assert [
        order.samples[begin:end].tolist()
        for begin, end in zip(order.stream_starts[:-1], order.stream_starts[1:], strict=True)
    ] == streams
    lengths = [len(stream) for stream in streams]
    assert max(lengths) - min(lengths) <= 1
    assert sorted(flat(streams)) == list(range(sum(sizes)))

    batch_size = num_streams * per_stream
    seen = []
    for step in range(steps_per_epoch(sum(sizes), batch_size)):
        # Any step for itself: nothing is counted off before it.
        samples, real = order.batch(step, batch_size)
        expected = [stream[step * per_stream : (step + 1) * per_stream] for stream in streams]
        assert samples[real].tolist() == flat(expected)
        seen += samples[real].tolist()
        plan = ReaderPlan(
            location="nowhere",
            seed=seed,
            global_batch_size=batch_size,
            crop_size=1,
            num_streams=num_streams,
            window=window,
            num_replicas=num_replicas,
        )
        shares = [replace(plan, replica=replica).share for replica in range(num_replicas)]
        assert np.array_equal(np.concatenate([samples[share] for share in shares]), samples)
        # A replica reads streams of its own, and those whole.
        per_replica = num_streams // num_replicas
        for replica, share in enumerate(shares):
            own = expected[replica * per_replica : (replica + 1) * per_replica]
            assert samples[share][real[share]].tolist() == flat(own)
    assert sorted(seen) == list(range(sum(sizes)))


shapes = st.tuples(
    st.lists(st.integers(1, 40), min_size=1, max_size=16),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**40),
    st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]),
    st.integers(1, 20),
    st.integers(1, 6),
    st.sampled_from([1, 2, 4, 8]),
).filter(lambda shape: shape[3] % shape[6] == 0)


@given(shapes)
def test_all_promises_in_many_shapes(shape):
    check_promises(shape)


@pytest.mark.slow
@settings(max_examples=4000, deadline=None)
@given(shapes)
def test_all_promises_in_thousands_of_shapes(shape):
    check_promises(shape)


@pytest.mark.parametrize("num_samples", [1, 2, 3, 7, 61, 127, 251])
def test_primes_and_more_streams_than_samples(num_samples):
    # Of 64 streams most are empty, or one shorter than others.
    sizes = [1] * (num_samples // 2) + [num_samples - num_samples // 2]
    check_promises((sizes, 3, 5, 64, 2, 1, 4))
    check_promises(([num_samples], 3, 5, 64, 1, 3, 8))
