import itertools

from hypothesis import given
from hypothesis import strategies as st

from trainer.contract.spec import ModelSpec
from trainer.layers import layers, scaled

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


@given(size=st.integers(63, 512))
def test_conv1_is_as_large_as_the_2012_source_says(size: int) -> None:
    # layer.py: 1 + ceil((2·pad + in - k) / stride), with pad 0.
    assert layers(ModelSpec(input_size=size))[0].map_size == 1 + -(-(size - 11) // 4)


@given(
    width=st.floats(0.125, 4),
    size=st.integers(63, 512),
    num_classes=st.integers(2, 2000),
)
def test_each_layer_reads_what_the_one_before_gives(
    width: float, size: int, num_classes: int
) -> None:
    table = layers(ModelSpec(width=width, input_size=size, num_classes=num_classes))
    for before, layer in itertools.pairwise(table):
        given_by_tower = before.outputs
        if layer.kind == "linear" and before.pooled_size is not None:
            given_by_tower *= before.pooled_size**2
        assert layer.inputs == given_by_tower * (2 if layer.reads_both else 1)
        assert layer.outputs >= 1
    assert table[-1].outputs == num_classes


def test_width_scales_and_never_gives_nothing() -> None:
    assert scaled(48, 0.25) == 12
    assert scaled(2048, 1.0) == 2048
