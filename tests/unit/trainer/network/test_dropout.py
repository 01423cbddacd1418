import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.gpu import GPU, needs_gpu
from trainer.network.dropout import DropoutDraw, drop, mask

CPU = torch.device("cpu")

seeds = st.integers(0, 2**32 - 1)
steps = st.integers(0, 10**6)
towers = st.sampled_from([0, 1])
layer_names = st.sampled_from(["fc6", "fc7"])


def _mask(
    *,
    seed: int = 3,
    step: int = 5,
    first_place: int = 0,
    images: int = 8,
    layer: str = "fc6",
    tower: int = 0,
    units: int = 2048,
    device: torch.device = CPU,
) -> Tensor:
    draw = DropoutDraw(seed, step, first_place)
    return mask(draw, images, layer=layer, tower=tower, num_units=units, device=device)


@needs_gpu
@given(seed=seeds, step=steps, layer=layer_names, tower=towers, units=st.integers(1, 200))
def test_the_same_on_a_gpu(*, seed: int, step: int, layer: str, tower: int, units: int) -> None:
    on_cpu, on_gpu = (
        _mask(seed=seed, step=step, layer=layer, tower=tower, units=units, device=device)
        for device in (CPU, GPU)
    )
    assert torch.equal(on_cpu, on_gpu.cpu())


@settings(max_examples=50)
@given(
    seed=seeds,
    step=steps,
    layer=layer_names,
    tower=towers,
    units=st.integers(1, 200),
    cuts=st.lists(st.integers(0, 24), max_size=4),
)
def test_the_same_for_any_micro_batches_and_replicas(
    *, seed: int, step: int, layer: str, tower: int, units: int, cuts: list[int]
) -> None:
    def of(first: int, last: int) -> Tensor:
        return _mask(
            seed=seed,
            step=step,
            layer=layer,
            tower=tower,
            units=units,
            first_place=first,
            images=last - first,
        )

    edges = [0, *sorted(cuts), 24]
    parts = [of(a, b) for a, b in itertools.pairwise(edges)]
    assert torch.equal(torch.cat(parts), of(0, 24))


@settings(max_examples=50)
@given(seed=seeds, step=steps, layer=layer_names, tower=towers)
def test_every_number_matters(seed: int, step: int, layer: str, tower: int) -> None:
    base = _mask(seed=seed, step=step, layer=layer, tower=tower)
    other_layer = "fc7" if layer == "fc6" else "fc6"
    others = [
        _mask(seed=seed + 1, step=step, layer=layer, tower=tower),
        _mask(seed=seed, step=step + 1, layer=layer, tower=tower),
        _mask(seed=seed, step=step, layer=other_layer, tower=tower),
        _mask(seed=seed, step=step, layer=layer, tower=1 - tower),
        _mask(seed=seed, step=step, layer=layer, tower=tower, first_place=8),
    ]
    for other in others:
        # Unrelated masks agree in half of their 16,384 units; five deviations are 0.02.
        assert abs(float((base == other).float().mean()) - 0.5) < 0.02


def test_half_of_the_units_are_kept_in_every_direction() -> None:
    kept = torch.stack([_mask(step=step, images=128) for step in range(4)]).float()
    # (steps, images, units): 1,048,576 draws, standard deviation 0.0005.
    assert abs(float(kept.mean()) - 0.5) < 0.0025
    # Of each unit over 512 draws and each image over 8,192: within five deviations.
    assert float((kept.mean(dim=(0, 1)) - 0.5).abs().max()) < 5 * 0.5 / 512**0.5
    assert float((kept.mean(dim=(0, 2)) - 0.5).abs().max()) < 5 * 0.5 / 8192**0.5


def test_neighbours_are_independent() -> None:
    kept = _mask(images=512).float() - 0.5
    for a, b in ((kept[:, 1:], kept[:, :-1]), (kept[1:], kept[:-1]), (kept[:, 64:], kept[:, :-64])):
        # Means of a million products of ±1/2: standard deviation 0.00025.
        assert abs(float((a * b).mean())) < 0.00125


def test_fewer_units_are_the_first_of_more() -> None:
    assert torch.equal(_mask(units=70), _mask(units=200)[:, :70])


def test_a_known_mask_stays_as_it_is() -> None:
    # A changed hash would change every run that is resumed.
    bits = _mask(seed=1, step=2, first_place=3, images=1, layer="fc7", tower=1, units=16)
    assert "".join(str(int(bit)) for bit in bits[0]) == "1010101011001000"


def test_training_drops_without_scaling_and_test_halves() -> None:
    x = torch.rand(8, 64, requires_grad=True)
    draw = DropoutDraw(3, 5, 0)
    kept = _mask(units=64)
    assert torch.equal(drop(x, draw, layer="fc6", tower=0), torch.where(kept, x, 0.0))
    # Section 4.2: "we use all the neurons but multiply their outputs by 0.5".
    assert torch.equal(drop(x, None, layer="fc6", tower=0), x * 0.5)


def test_inverted_dropout_doubles_in_training_and_leaves_the_test_alone() -> None:
    x = torch.rand(8, 64)
    draw = DropoutDraw(3, 5, 0)
    once = drop(x, draw, layer="fc6", tower=0)
    assert torch.equal(drop(x, draw, layer="fc6", tower=0, inverted=True), 2 * once)
    assert torch.equal(drop(x, None, layer="fc6", tower=0, inverted=True), x)


def test_gradients_pass_only_where_units_are_kept() -> None:
    x = torch.rand(8, 64, requires_grad=True)
    drop(x, DropoutDraw(3, 5, 0), layer="fc6", tower=0).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, _mask(units=64).float())


def test_arithmetic_of_the_input_is_kept() -> None:
    x = torch.rand(8, 64).bfloat16()
    assert drop(x, DropoutDraw(3, 5, 0), layer="fc6", tower=0).dtype == x.dtype
    assert drop(x, None, layer="fc6", tower=0).dtype == x.dtype
