import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.feeding.shuffle_quality import presented, shuffle_quality
from data_shards.order import epoch_order, sequential_order

SIZES = [100] * 40
SHARDS = np.repeat(np.arange(40), 100)


def quality_of(sequence, *, shards=SHARDS, labels=SHARDS, batch_size=40):
    return shuffle_quality(
        np.asarray(sequence), shards=shards, labels=labels, batch_size=batch_size
    )


def measured(window: int, *, num_streams: int = 4, seed: int = 1):
    order = epoch_order(SIZES, seed=seed, epoch=0, num_streams=num_streams, window=window)
    return quality_of(presented(order, 40))


def literally(
    sequence: list[int], shards: list[int], labels: list[int], batch_size: int
) -> dict[str, Any]:
    """Return the same measures, transcribed word by word from what they say of themselves."""
    n = len(sequence)
    place = {sample: where for where, sample in enumerate(sequence)}
    mean = (n - 1) / 2
    covariance = sum((sample - mean) * (place[sample] - mean) for sample in range(n))
    variance = sum((sample - mean) ** 2 for sample in range(n))
    distances = [
        abs(place[a] - place[b]) for a, b in itertools.pairwise(range(n)) if shards[a] == shards[b]
    ]
    size = min(batch_size, n)
    batches = [sequence[start : start + size] for start in range(0, n - size + 1, size)]

    def entropy(values: list[int]) -> float:
        counts = Counter(abs(b - a) for a, b in itertools.pairwise(values))
        total = sum(counts.values())
        return -sum(count / total * math.log2(count / total) for count in counts.values())

    return {
        "rank_correlation": covariance / variance if n > 1 else 0,
        "neighbour_distance": sum(distances) / len(distances) / n if distances else 0,
        "shards_per_batch": np.mean([len({shards[s] for s in batch}) for batch in batches]),
        "classes_per_batch": np.mean([len({labels[s] for s in batch}) for batch in batches]),
        "entropy_bits": entropy(sequence) + entropy([shards[sample] for sample in sequence]),
    }


@given(st.integers(1, 60), st.integers(1, 70), st.integers(1, 9), st.randoms())
def test_the_measures_are_what_they_say_of_themselves(num_samples, batch_size, size, random):
    sequence = random.sample(range(num_samples), num_samples)
    shards = [sample // size for sample in range(num_samples)]
    labels = [random.randrange(5) for _ in range(num_samples)]
    quality = quality_of(
        sequence, shards=np.array(shards), labels=np.array(labels), batch_size=batch_size
    )
    expected = literally(sequence, shards, labels, batch_size)
    assert vars(quality) == pytest.approx(expected, abs=1e-12)


def test_no_shuffle_at_all():
    quality = quality_of(presented(sequential_order(4000), 40))
    assert quality.rank_correlation == 1
    assert quality.neighbour_distance == 1 / 4000
    assert quality.shards_per_batch == 1.2
    assert quality_of(np.arange(4000)[::-1]).rank_correlation == -1


def test_a_wider_window_shuffles_better_until_it_is_a_full_shuffle():
    qualities = [measured(window) for window in (1, 4, 10)]
    for name in ("neighbour_distance", "shards_per_batch", "entropy_bits"):
        values = [vars(quality)[name] for quality in qualities]
        assert values == sorted(values)
    full = measured(40, num_streams=1)
    assert abs(full.rank_correlation) < 4 / math.sqrt(4000)
    assert full.neighbour_distance == pytest.approx(1 / 3, abs=0.02)
    # 40 samples of 40 shards: 40 (1 - (1 - 1 / 40)^40).
    assert full.shards_per_batch == pytest.approx(25.5, abs=0.8)
    # A shard of each stream at least, and no more than their windows hold.
    assert 4 <= qualities[0].shards_per_batch <= 8


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 5), st.integers(1, 4))
def test_what_is_presented_is_every_sample_once_in_order_of_steps(sizes, streams, per_stream):
    order = epoch_order(sizes, seed=1, epoch=0, num_streams=streams, window=2)
    sequence = presented(order, streams * per_stream)
    assert sorted(sequence.tolist()) == list(range(sum(sizes)))
    first, real = order.batch(0, streams * per_stream)
    assert sequence[: real.sum()].tolist() == first[real].tolist()
