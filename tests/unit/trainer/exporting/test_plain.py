from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainer.contract.model_spec import ModelSpec
from trainer.exporting.plain import (
    MEAN_IMAGE,
    GroupedLrn,
    plain_alexnet,
    plain_weights,
    tower_weights,
)
from trainer.network.alexnet import AlexNet
from trainer.network.lrn import ALPHA, lrn_reference

META = torch.device("meta")

Networks = Callable[..., AlexNet]
Models = Callable[..., ModelSpec]

VARIANTS: list[dict[str, Any]] = [
    {},
    {"recipe": "source2012"},
    {"activation": "tanh"},
    {"activation": "tanh", "recipe": "source2012"},
    {"lrn": False},
    {"lrn": False, "recipe": "source2012"},
    {"overlapping_pool": False},
    {"dropout": False},
    {"inverted_dropout": True},
    {"towers": 1},
    {"column_communication": False},
    {"column_communication": False, "recipe": "source2012"},
    {"removed_layer": "conv2"},
    {"removed_layer": "conv2", "recipe": "source2012"},
    {"removed_layer": "conv3"},
    {"removed_layer": "conv4", "towers": 1},
    {"removed_layer": "conv5"},
    {"sixth_conv": True},
    {"sixth_conv": True, "towers": 1, "recipe": "source2012"},
]


def _loud(network: AlexNet) -> AlexNet:
    """Make LRN matter: responses of a hundred, as in a trained network, not of one."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith(("conv1.weight", "conv2.weight")):
                weight.mul_(100)
    return network


def _plain(network: AlexNet, model: ModelSpec, mean_image: Tensor) -> nn.Sequential:
    plain = plain_alexnet(model)
    plain.load_state_dict(plain_weights(model, network.state_dict(), mean_image))
    return plain.eval()


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_computes_what_the_towers_compute(
    small_network: Networks, small_model: Models, changes: dict[str, Any]
) -> None:
    network, model = _loud(small_network(**changes)), small_model(**changes)
    generator = torch.Generator().manual_seed(1)
    mean_image = 255 * torch.rand(3, 64, 64, generator=generator)
    pixels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
    plain = _plain(network, model, mean_image)
    images = pixels - mean_image
    expected = network((images, images))
    torch.testing.assert_close(plain(pixels), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(plain(pixels.float()), plain(pixels))


@pytest.mark.parametrize("recipe", ["paper", "source2012"])
def test_lrn_over_both_towers_at_once_would_be_seen(
    small_network: Networks, small_model: Models, recipe: str
) -> None:
    network, model = _loud(small_network(recipe=recipe)), small_model(recipe=recipe)
    plain = _plain(network, model, torch.zeros(3, 64, 64))
    pixels = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(2))
    expected = plain(pixels)
    for module in plain.modules():
        if isinstance(module, GroupedLrn):
            module.num_groups = 1
    assert not torch.allclose(plain(pixels), expected, rtol=1e-3, atol=1e-3)


@settings(max_examples=20)
@given(
    num_groups=st.integers(1, 3),
    channels=st.integers(1, 9),
    scale=st.sampled_from([1.0, 100.0]),
    seed=st.integers(0, 2**32),
)
def test_each_group_is_normalised_by_itself(
    num_groups: int, channels: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(2, num_groups * channels, 3, 2, generator=generator)
    expected = torch.cat([lrn_reference(group, ALPHA) for group in x.chunk(num_groups, dim=1)], 1)
    torch.testing.assert_close(GroupedLrn(num_groups, alpha=ALPHA)(x), expected)


@st.composite
def _models(draw: st.DrawFn) -> ModelSpec:
    changes = draw(st.sampled_from(VARIANTS))
    return ModelSpec.model_validate(
        {
            "width": draw(st.floats(0.03, 0.2)),
            "input_size": draw(st.integers(63, 90)),
            "num_classes": draw(st.integers(2, 9)),
            **changes,
        }
    )


@settings(max_examples=30)
@given(model=_models(), seed=st.integers(0, 2**32))
def test_the_weights_go_there_and_back_bit_for_bit(model: ModelSpec, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(weight.shape, generator=generator)
        for name, weight in AlexNet(model, [META, META]).state_dict().items()
    }
    mean_image = torch.randn(3, model.input_size, model.input_size, generator=generator)
    plain = plain_weights(model, weights, mean_image)
    with META:
        expected = plain_alexnet(model).state_dict()
    assert {name: tensor.shape for name, tensor in plain.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
    back = tower_weights(model, plain)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)
    again = plain_weights(model, back, plain[MEAN_IMAGE])
    assert again.keys() == plain.keys()
    assert all(torch.equal(again[name], plain[name]) for name in plain)


def test_the_paper_has_its_parameters_under_its_names() -> None:
    with META:
        plain = plain_alexnet(ModelSpec())
    assert sum(weight.numel() for weight in plain.parameters()) == 60_965_224
    shapes = {name: tuple(weight.shape) for name, weight in plain.named_parameters()}
    assert shapes["conv1.weight"] == (96, 3, 11, 11)
    assert shapes["conv2.weight"] == (256, 48, 5, 5)
    assert shapes["conv3.weight"] == (384, 256, 3, 3)
    assert shapes["fc6.weight"] == (4096, 9216)
    assert plain(torch.zeros(2, 3, 224, 224, device=META)).shape == (2, 1000)


@pytest.mark.parametrize(
    ("changes", "kept", "at_test"),
    [({}, 1.0, 0.5), ({"inverted_dropout": True}, 2.0, 1.0), ({"dropout": False}, None, 1.0)],
)
def test_an_output_counts_in_training_and_at_test_what_it_counts_there(
    small_model: Models, changes: dict[str, Any], kept: float | None, at_test: float
) -> None:
    plain = plain_alexnet(small_model(**changes))
    names = [name for name, _ in plain.named_children()]
    # What stands between the activation of fc6 and fc7.
    between = plain[names.index("fc6_activation") + 1 : names.index("fc7")]
    ones = torch.ones(1, 2000)
    assert torch.equal(between.eval()(ones), at_test * ones)
    torch.manual_seed(0)
    trained = between.train()(ones)
    if kept is None:
        assert torch.equal(trained, ones)
    else:
        assert set(trained.unique().tolist()) == {0.0, kept}
        assert 0.45 < float((trained > 0).float().mean()) < 0.55


def test_it_can_be_trained_on(small_network: Networks, small_model: Models) -> None:
    plain = _plain(small_network(), small_model(), torch.zeros(3, 64, 64)).train()
    plain(torch.randint(0, 256, (4, 3, 64, 64))).square().sum().backward()
    assert all(weight.grad is not None for weight in plain.parameters())
    assert "mean.image" not in dict(plain.named_parameters())
