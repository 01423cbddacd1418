from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from data_shards.feeding.draws import colour_normals
from data_shards.feeding.reader import Batch
from data_shards.manifest import RgbPca
from tests.compiler import needs_compiler
from tests.gpu import GPU, needs_gpu
from tests.unit.trainer.batches import make_batch
from trainer.contract.model_spec import Recipe
from trainer.learning.preprocess import Colour, Preprocess

CPU = torch.device("cpu")
DEVICES = CPU, pytest.param(GPU, marks=needs_gpu)
STORED, CROP = 40, 32

# ImageNet's published ones, on 0-1 pixels; eigenvectors as columns.
PUBLIC_EIGENVALUES = (0.2175, 0.0188, 0.0045)
PUBLIC_COLUMNS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_rows: Any = tuple(tuple(float(x) for x in row) for row in PUBLIC_COLUMNS.T)
PCA = RgbPca(
    eigenvalues=tuple(255**2 * value for value in PUBLIC_EIGENVALUES),
    eigenvectors=_rows,
)


def _mean_image() -> npt.NDArray[np.float32]:
    # Every pixel differs from every other, so that a wrong offset shows.
    pixels = np.arange(STORED * STORED * 3, dtype=np.float32).reshape(STORED, STORED, 3)
    return pixels / np.float32(20)


def _batch() -> Batch:
    return make_batch(crop_size=CROP, num_positions=STORED - CROP + 1)


def _literal(
    batch: Batch, colour: Colour | None, *, centre_mean: bool = False
) -> npt.NDArray[np.float64]:
    """Return (n, 3, c, c) image by image, in double precision."""
    mean = _mean_image().astype(np.float64)
    prepared = np.zeros((len(batch.images), 3, CROP, CROP))
    for number, image in enumerate(batch.images.astype(np.float64)):
        row, column = batch.offsets[number]
        crop = mean[row : row + CROP, column : column + CROP]
        if batch.mirrored[number]:
            crop = crop[:, ::-1]
        if centre_mean:
            crop = mean[4:36, 4:36]
        x = image - crop
        if colour is not None:
            alphas = colour.strength * batch.colour[number].astype(np.float64)
            eigenvectors = np.array(colour.pca.eigenvectors).T  # columns, as published
            eigenvalues = np.array(colour.pca.eigenvalues)
            if colour.recipe == "paper":
                # [p1, p2, p3][α1λ1, α2λ2, α3λ3]ᵀ on pixels of 0-1, brought to 0-255.
                x = x + 255 * (eigenvectors @ (alphas * eigenvalues / 255**2))
            else:
                x = (x + eigenvectors @ (alphas * np.sqrt(eigenvalues))) / (1 + colour.strength)
        prepared[number] = x.transpose(2, 0, 1)
    return prepared


COLOURS = {
    "test": None,
    "paper": Colour(PCA, 0.1, "paper"),
    "source2012": Colour(PCA, 0.1, "source2012"),
    "twice as strong": Colour(PCA, 0.2, "source2012"),
    "paper without colour": Colour(PCA, 0.0, "paper"),
    "source2012 without colour": Colour(PCA, 0.0, "source2012"),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("centre_mean", [False, True])
@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS.keys())
def test_prepares_as_the_formulas_say(
    colour: Colour | None, centre_mean: bool, device: torch.device
) -> None:
    batch = _batch()
    preprocess = Preprocess(
        _mean_image(), colour, (device, device), torch.float32, centre_mean=centre_mean
    )
    images, same = preprocess(batch)
    expected = _literal(batch, colour, centre_mean=centre_mean)
    np.testing.assert_allclose(images.cpu().numpy(), expected, rtol=1e-5, atol=1e-3)
    assert images.shape == (8, 3, CROP, CROP)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert same is images


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("centre_mean", [False, True])
@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS.keys())
def test_the_kernel_is_torch_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch, colour: Colour | None, centre_mean: bool, dtype: torch.dtype
) -> None:
    batch = _batch()
    images, _ = Preprocess(_mean_image(), colour, (CPU, CPU), dtype, centre_mean=centre_mean)(batch)
    monkeypatch.setattr("trainer.learning.preprocess.load", lambda name: None)
    slow, _ = Preprocess(_mean_image(), colour, (CPU, CPU), dtype, centre_mean=centre_mean)(batch)
    assert torch.equal(images, slow)
    assert images.stride() == slow.stride()


@needs_compiler
def test_the_kernel_takes_arrays_in_any_layout() -> None:
    batch = _batch()
    gaps = replace(
        batch,
        images=batch.images.repeat(2, axis=0)[::2],
        offsets=np.asfortranarray(batch.offsets),
        mirrored=batch.mirrored.repeat(2)[::2],
    )
    preprocess = Preprocess(_mean_image(), None, (CPU, CPU), torch.float32)
    other = Preprocess(np.asfortranarray(_mean_image()), None, (CPU, CPU), torch.float32)
    assert torch.equal(other(gaps)[0], preprocess(batch)[0])


def test_the_mean_is_mirrored_with_its_image() -> None:
    # An image that is the mean itself, cropped and mirrored, leaves nothing.
    mean = np.round(_mean_image() / np.float32(4))
    batch = _batch()
    for number in range(len(batch.images)):
        row, column = batch.offsets[number]
        crop = mean[row : row + CROP, column : column + CROP]
        batch.images[number] = crop[:, ::-1] if batch.mirrored[number] else crop
    assert mean.max() <= 255
    assert batch.mirrored.any()
    assert not batch.mirrored.all()
    images, _ = Preprocess(mean, None, (CPU, CPU), torch.float32)(batch)
    assert not images.any()


def test_the_centre_of_the_mean_is_neither_moved_nor_mirrored() -> None:
    batch = _batch()
    corner = replace(batch, offsets=np.zeros_like(batch.offsets), mirrored=~batch.mirrored)
    preprocess = Preprocess(_mean_image(), None, (CPU, CPU), torch.float32, centre_mean=True)
    assert torch.equal(preprocess(batch)[0], preprocess(corner)[0])


@pytest.mark.parametrize("recipe", ["paper", "source2012"])
def test_drawn_shifts_have_the_covariance_that_the_recipe_says(recipe: Recipe) -> None:
    num_images = 200_000
    normals = colour_normals(np.arange(num_images), seed=11, epoch=3)
    # (n, 3) RGB
    shifts = normals @ Colour(PCA, 0.1, recipe).axes()
    # Σ σ² p pᵀ over the components, σ the spread of the shift along each.
    spreads = 0.1 * 255 * np.array(PUBLIC_EIGENVALUES) ** (1 if recipe == "paper" else 0.5)
    expected = PUBLIC_COLUMNS @ np.diag(spreads**2) @ PUBLIC_COLUMNS.T
    covariance = np.cov(shifts.T, bias=True)
    # An entry of n draws spreads by √((cᵢᵢcⱼⱼ + cᵢⱼ²) / n); five times that.
    variances = np.diag(expected)
    error = np.sqrt((np.outer(variances, variances) + expected**2) / num_images)
    assert (np.abs(covariance - expected) < 5 * error + 1e-3 * variances.max()).all()
    assert (np.abs(shifts.mean(axis=0)) < 5 * np.sqrt(variances / num_images)).all()


@pytest.mark.parametrize(("recipe", "longest"), [("paper", 5.5), ("source2012", 11.9)])
def test_colour_shifts_by_a_few_grey_levels(recipe: Recipe, longest: float) -> None:
    axes = Colour(PCA, 0.1, recipe).axes()
    # 0.1 · 255 · .2175 for the paper; 0.1 · 255 · √.2175 for the source.
    assert np.linalg.norm(axes[0]) == pytest.approx(longest, abs=0.1)
    # The components are the published columns: the first is nearly grey.
    np.testing.assert_allclose(axes[0] / np.linalg.norm(axes[0]), PUBLIC_COLUMNS[:, 0], atol=1e-3)


def test_each_image_is_shifted_alone() -> None:
    batch = _batch()
    with_colour = Preprocess(_mean_image(), Colour(PCA, 0.1, "paper"), (CPU, CPU), torch.float32)
    without = Preprocess(_mean_image(), None, (CPU, CPU), torch.float32)
    # (n, 3, c, c): the shift is the same for all pixels of an image, another for each image.
    shift = with_colour(batch)[0] - without(batch)[0]
    assert float(shift.std(dim=(2, 3)).max()) < 1e-3
    assert len({round(float(value), 3) for value in shift[:, 0, 0, 0]}) == len(shift)


def test_bf16_rounds_at_the_end() -> None:
    batch, colour = _batch(), Colour(PCA, 0.1, "paper")
    exact, _ = Preprocess(_mean_image(), colour, (CPU, CPU), torch.float32)(batch)
    rounded, _ = Preprocess(_mean_image(), colour, (CPU, CPU), torch.bfloat16)(batch)
    assert torch.equal(rounded, exact.bfloat16())
