import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.feeding.draws import colour_normals, crop_offsets, mirrored

N = 200_000
SAMPLES = np.arange(N, dtype=np.int64)
numbers = st.integers(0, 2**31)
units = st.sampled_from(["sample", "chunk"])


@given(
    st.lists(st.integers(0, 2**40), min_size=1, max_size=20),
    numbers,
    numbers,
    st.integers(1, 500),
    units,
)
def test_draws_depend_on_seed_epoch_and_number_alone(samples, seed, epoch, num_positions, unit):
    together = np.array(samples, dtype=np.int64)
    key = {"seed": seed, "epoch": epoch}
    offsets = crop_offsets(together, **key, num_positions=num_positions, unit=unit)
    assert offsets.shape == (len(samples), 2)
    assert offsets.min() >= 0
    assert offsets.max() < num_positions
    for place in range(len(samples)):
        alone = together[place : place + 1]
        assert np.array_equal(
            crop_offsets(alone, **key, num_positions=num_positions, unit=unit)[0], offsets[place]
        )
        assert mirrored(alone, **key, unit=unit)[0] == mirrored(together, **key, unit=unit)[place]
        assert np.array_equal(
            colour_normals(alone, **key)[0], colour_normals(together, **key)[place]
        )


@pytest.mark.parametrize("unit", ["sample", "chunk"])
def test_offsets_are_uniform_over_all_positions(unit):
    # 33 × 33 positions of a 224 crop in 256 pixels: chi-squared with 1,088 degrees of freedom.
    offsets = crop_offsets(SAMPLES, seed=3, epoch=9, num_positions=33, unit=unit)
    counts = np.bincount(offsets[:, 0] * 33 + offsets[:, 1], minlength=33 * 33)
    expected = N / 33**2
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert 900 < chi_squared < 1290  # four standard deviations


@pytest.mark.parametrize("unit", ["sample", "chunk"])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (1, 0), (0, 1), (2**32 - 1, 89)])
def test_half_are_mirrored(seed, epoch, unit):
    count = int(mirrored(SAMPLES, seed=seed, epoch=epoch, unit=unit).sum())
    assert abs(count - N / 2) < 4 * np.sqrt(N / 4)


def test_colour_is_standard_normal():
    normals = colour_normals(SAMPLES, seed=5, epoch=2)
    assert normals.dtype == np.float32
    assert normals.shape == (N, 3)
    assert np.abs(normals.mean(axis=0)).max() < 4 / np.sqrt(N)
    assert np.abs(normals.var(axis=0) - 1).max() < 4 * np.sqrt(2 / N)
    # Share beyond two standard deviations, 4.55 %.
    beyond = (np.abs(normals) > 2).mean(axis=0)
    assert np.abs(beyond - 0.0455).max() < 4 * np.sqrt(0.0455 / N)
    assert np.isfinite(normals).all()


def test_draws_of_neighbours_epochs_seeds_and_purposes_are_independent():
    samples = SAMPLES[:40_000]

    def draw(seed: int, epoch: int) -> list[np.ndarray]:
        return [
            *crop_offsets(samples, seed=seed, epoch=epoch, num_positions=1 << 16).T,
            mirrored(samples, seed=seed, epoch=epoch),
            *crop_offsets(samples, seed=seed, epoch=epoch, num_positions=1 << 16, unit="chunk").T,
            mirrored(samples, seed=seed, epoch=epoch, unit="chunk"),
            *colour_normals(samples, seed=seed, epoch=epoch).T,
        ]

    one = draw(0, 0)
    columns = [*one, *draw(0, 1), *draw(1, 0), *(np.roll(column, 1) for column in one)]
    correlation = np.atleast_2d(np.corrcoef(np.array(columns, dtype=np.float64)))
    np.fill_diagonal(correlation, 0)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(samples))


def test_draws_are_frozen():
    # A change here changes every run and orphans every checkpoint.
    samples = np.array([0, 1, 1_281_166])
    assert crop_offsets(samples, seed=42, epoch=7, num_positions=33).tolist() == [
        [4, 6],
        [2, 12],
        [7, 18],
    ]
    assert mirrored(samples, seed=42, epoch=7).tolist() == [False, False, True]
    assert crop_offsets(samples, seed=42, epoch=7, num_positions=33, unit="chunk").tolist() == [
        [2, 3],
        [6, 15],
        [20, 17],
    ]
    assert mirrored(samples, seed=42, epoch=7, unit="chunk").tolist() == [True, False, False]
    np.testing.assert_allclose(
        colour_normals(samples, seed=42, epoch=7)[0],
        [-0.6414360404014587, 1.6505705118179321, 0.2848328649997711],
        rtol=1e-6,
    )
