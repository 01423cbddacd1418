import math
from collections.abc import Callable

import pytest
import torch

from trainer.contract.model_spec import ModelSpec
from trainer.network.alexnet import AlexNet, Linear
from trainer.network.dropout import DropoutDraw
from trainer.network.initialise import initialise

CPU = torch.device("cpu")
ONES = {"conv2", "conv4", "conv5", "conv6", "fc6", "fc7"}


def _weights(model: ModelSpec, seed: int = 0) -> dict[str, torch.Tensor]:
    network = AlexNet(model, [CPU, CPU])
    initialise(network, model, seed=seed)
    return {name: weight.detach() for name, weight in network.named_parameters()}


def _layer(parameter: str) -> str:
    return parameter.split(".")[-2]


@pytest.mark.parametrize("sixth_conv", [False, True])
@pytest.mark.parametrize(
    ("recipe", "init", "followed"),
    [
        ("paper", "recipe", "paper"),
        ("source2012", "recipe", "source2012"),
        ("paper", "source2012", "source2012"),
        ("source2012", "paper", "paper"),
    ],
)
def test_recipes_begin_as_they_say(recipe: str, init: str, followed: str, sixth_conv: bool) -> None:
    fields = {"recipe": recipe, "init": init, "sixth_conv": sixth_conv}
    weights = _weights(ModelSpec.model_validate({**fields, "width": 0.25, "input_size": 96}))
    for name, weight in weights.items():
        layer = _layer(name)
        if name.endswith(".bias"):
            assert torch.equal(weight, torch.full_like(weight, float(layer in ONES))), name
            continue
        wide = followed == "source2012" and layer in {"conv3", "conv4", "conv5", "conv6"}
        std = 0.03 if wide else 0.01
        # The standard deviation of an estimate from n draws is std / √(2n).
        assert float(weight.std()) == pytest.approx(std, rel=5 / math.sqrt(2 * weight.numel()))
        assert abs(float(weight.mean())) < 5 * std / math.sqrt(weight.numel())


def test_every_parameter_is_drawn_by_itself() -> None:
    weights = _weights(ModelSpec(width=0.125, input_size=64))
    left, right = weights["towers.0.conv1.weight"], weights["towers.1.conv1.weight"]
    assert not torch.equal(left, right)
    # The first draws of any two parameters differ too.
    firsts = {float(weight.flatten()[0]) for name, weight in weights.items() if "weight" in name}
    assert len(firsts) == 15


def test_neither_order_nor_devices_nor_other_layers_matter() -> None:
    small, many = ModelSpec(width=0.125, input_size=64), ModelSpec(width=0.125, num_classes=10)
    torch.manual_seed(1)
    one = _weights(small)
    torch.manual_seed(2)
    torch.rand(7)
    other = _weights(many)
    for name in ("towers.0.conv1.weight", "towers.1.fc7.weight"):
        assert torch.equal(one[name], other[name])


def test_the_seed_decides() -> None:
    model = ModelSpec(width=0.125, input_size=64)
    one, same, other = _weights(model, 5), _weights(model, 5), _weights(model, 6)
    for name in one:
        assert torch.equal(one[name], same[name])
        if name.endswith(".weight"):
            assert not torch.equal(one[name], other[name])


def test_torchs_own_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    _weights(ModelSpec(width=0.125, input_size=64))
    assert torch.equal(torch.get_rng_state(), before)


def test_variance_is_preserved(small_network: Callable[..., AlexNet]) -> None:
    network = small_network(width=0.5)
    stds: dict[str, float] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, Linear):
            layer.register_forward_hook(
                lambda _module, _inputs, output, name=name: stds.update({name: output.std().item()})
            )
    images = 70 * torch.randn(32, 3, 64, 64)
    network((images, images), DropoutDraw(0, 0, 0))
    # Pixels of 70 reach the last layers as numbers of about 1, through eight layers.
    assert all(0.1 < std < 10 for std in stds.values()), stds
