import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_shards.inspection.spread import spread_by_class, spread_samples

SEEDS = st.integers(0, 2**32)


@given(num_samples=st.integers(0, 500), count=st.integers(1, 60), seed=SEEDS)
def test_each_equal_part_gives_one_sample(num_samples, count, seed):
    chosen = spread_samples(num_samples, count, seed=seed)
    assert len(chosen) == min(count, num_samples)
    for part, sample in enumerate(chosen):
        assert part * num_samples // len(chosen) <= sample < (part + 1) * num_samples // len(chosen)


def test_the_seed_decides():
    one, other = (spread_samples(10_000, 20, seed=seed).tolist() for seed in (1, 2))
    assert one != other
    assert one == spread_samples(10_000, 20, seed=1).tolist()


@given(
    labels=st.lists(st.integers(0, 9), max_size=80),
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    seed=SEEDS,
)
def test_a_row_is_a_class_and_as_full_as_it_can_be(labels, rows, columns, seed):
    chosen = spread_by_class(
        np.array(labels, dtype=np.int64), rows=rows, columns=columns, seed=seed
    )
    assert len(chosen) == min(rows, len(set(labels)))
    of_rows = []
    for row in chosen:
        (label,) = {labels[sample] for sample in row}
        of_rows.append(label)
        assert len(set(row.tolist())) == len(row) == min(columns, labels.count(label))
    assert of_rows == sorted(set(of_rows))
