import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.network.models import models
from trainer.contract.layers import layers, scaled
from trainer.contract.model_spec import ModelSpec
from trainer.network.alexnet import AlexNet

PAPER_PARAMETERS = {
    "conv1": 34_944,
    "conv2": 307_456,
    "conv3": 885_120,
    "conv4": 663_936,
    "conv5": 442_624,
    "fc6": 37_752_832,
    "fc7": 16_781_312,
    "fc8": 4_097_000,
}
# Both directions before conv3, fc6 and fc7; one before fc8 (paper section 3.2).
PAPER_CROSSING_BYTES = {"conv3": 2 * 86_528, "fc6": 2 * 18_432, "fc7": 2 * 8_192, "fc8": 8_192}


def test_parameters_of_the_paper() -> None:
    table = layers(ModelSpec())
    assert {layer.name: layer.num_parameters for layer in table} == PAPER_PARAMETERS
    assert sum(layer.num_parameters for layer in table) == 60_965_224


def test_multiply_adds_of_the_paper() -> None:
    total = sum(layer.num_multiply_adds for layer in layers(ModelSpec()))
    assert round(total / 1e6, 1) == 724.4


def test_crossings_of_the_paper() -> None:
    crossing = {
        layer.name: 4 * layer.crossing_elements
        for layer in layers(ModelSpec())
        if layer.crossing_elements
    }
    assert crossing == PAPER_CROSSING_BYTES


def test_edges_of_the_paper() -> None:
    conv1, conv2, conv3, _, conv5, *_ = layers(ModelSpec())
    edges = conv1.map_size, conv1.pooled_size, conv2.pooled_size, conv3.map_size, conv5.pooled_size
    assert edges == (55, 27, 13, 13, 6)


@given(size=st.integers(36, 512))
def test_conv1_is_as_large_as_the_2012_source_says(size: int) -> None:
    # layer.py: 1 + ceil((2·pad + in - k) / stride), with pad 0.
    assert layers(ModelSpec(input_size=size))[0].map_size == 1 + -(-(size - 11) // 4)


@given(model=models(), width=st.floats(0.125, 4), size=st.integers(36, 512))
def test_each_layer_reads_what_the_one_before_gives(
    model: ModelSpec, width: float, size: int
) -> None:
    model = model.model_copy(update={"width": width, "input_size": size})
    table = layers(model)
    for before, layer in itertools.pairwise(table):
        given_by_tower = before.outputs
        if layer.kind == "linear" and before.kind != "linear":
            given_by_tower *= (before.pooled_size or before.map_size) ** 2
        assert layer.inputs == given_by_tower * (2 if layer.reads_both else 1)
        assert layer.outputs >= 1
        if layer.kind != "linear":
            assert layer.map_size == (before.pooled_size or before.map_size)
    assert table[-1].outputs == model.num_classes


@given(model=models())
def test_parameters_are_those_of_the_built_network(model: ModelSpec) -> None:
    meta = torch.device("meta")
    built: dict[str, int] = {}
    for name, weight in AlexNet(model, [meta, meta]).named_parameters():
        layer = name.split(".")[-2]
        built[layer] = built.get(layer, 0) + weight.numel()
    table = {layer.name: layer.num_parameters for layer in layers(model)}
    assert {name: count for name, count in table.items() if count} == built


def _shapes(**changes: Any) -> dict[str, tuple[int, int]]:
    """Return inputs and outputs of each layer, as one of its towers has them."""
    table = layers(ModelSpec.model_validate(changes))
    return {layer.name: (layer.inputs, layer.outputs) for layer in table if layer.has_weights}


PAPER_SHAPES = _shapes()


def test_the_one_gpu_net_of_section_3_2() -> None:
    assert _shapes(towers=1) == {
        "conv1": (3, 48),
        "conv2": (48, 128),
        "conv3": (128, 192),
        "conv4": (192, 192),
        "conv5": (192, 256),
        "fc6": (256 * 36, 4096),
        "fc7": (4096, 4096),
        "fc8": (4096, 1000),
    }
    # Footnote 1: "approximately the same number of parameters".
    assert sum(layer.num_parameters for layer in layers(ModelSpec(towers=1))) == 59_798_312
    assert not any(layer.crossing_elements for layer in layers(ModelSpec(towers=1)))


def test_towers_apart_are_net_150_of_the_2012_source() -> None:
    assert _shapes(column_communication=False) == {
        "conv1": (3, 48),
        "conv2": (48, 160),
        "conv3": (160, 192),
        "conv4": (192, 192),
        "conv5": (192, 128),
        "fc6": (128 * 36, 4096),
        "fc7": (4096, 2048),
        "fc8": (4096, 1000),
    }
    crossing = {
        layer.name: 4 * layer.crossing_elements
        for layer in layers(ModelSpec(column_communication=False))
        if layer.crossing_elements
    }
    assert crossing == {"fc8": 8_192}


def test_the_sixth_convolution_is_that_of_net_146() -> None:
    assert _shapes(sixth_conv=True) == {**PAPER_SHAPES, "conv6": (256, 128)}
    conv6 = next(layer for layer in layers(ModelSpec(sixth_conv=True)) if layer.name == "conv6")
    assert (conv6.kernel, conv6.padding, conv6.map_size, conv6.pooled_size) == (3, 1, 6, None)
    assert 4 * conv6.crossing_elements == 2 * 18_432


@pytest.mark.parametrize(
    ("removed", "changed"),
    [
        ("conv2", {"conv3": (2 * 48, 192)}),
        ("conv3", {"conv4": (2 * 128, 192)}),
        ("conv4", {}),
        ("conv5", {"fc6": (2 * 192 * 36, 2048)}),
    ],
)
def test_what_follows_a_removed_layer_reads_what_it_would_have_read(
    removed: str, changed: dict[str, tuple[int, int]]
) -> None:
    kept = {name: shape for name, shape in PAPER_SHAPES.items() if name != removed}
    assert _shapes(removed_layer=removed) == {**kept, **changed}


def test_width_scales_and_never_gives_nothing() -> None:
    assert scaled(48, 0.25) == 12
    assert scaled(2048, 1.0) == 2048
