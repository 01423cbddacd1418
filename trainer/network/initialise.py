"""How weights begin: the recipes' Gaussians, or variance-preserving ones.

Each parameter is drawn on the CPU from its own seed, a digest of the job's seed and the parameter's
name, so that neither devices nor the order of construction matter.
"""

import hashlib
import math
from typing import Literal, cast

import torch
from torch import Tensor, nn

from trainer.contract.model_spec import ModelSpec
from trainer.network.alexnet import AlexNet, Conv, Linear

Way = Literal["paper", "source2012", "variance_preserving"]

# Section 5: zero-mean Gaussians of this standard deviation in every layer.
_STD = 0.01
# The 2012 source has wider ones here (`layers-145.cfg`; conv6: `layers-146-2012-2011.cfg`).
_SOURCE_STD = {"conv3": 0.03, "conv4": 0.03, "conv5": 0.03, "conv6": 0.03}
# Section 5: biases 1 in these layers, so that the ReLUs start with positive inputs; else 0. The
# paper does not speak of conv6's; those of the source's #146 are 1.
_ONES = frozenset({"conv2", "conv4", "conv5", "conv6", "fc6", "fc7"})

# Standard deviation of 0-255 pixels minus the mean image, which the first layer divides away.
# Measured: 68 on 125 ImageNet photographs.
_INPUT_STD = 70.0


def initialise(network: AlexNet, model: ModelSpec, *, seed: int) -> None:
    """Set every weight and bias of the network, as `model.init` says."""
    way = model.recipe if model.init == "recipe" else model.init
    with torch.no_grad():
        for path, layer in network.named_modules():
            if not isinstance(layer, Conv | Linear):
                continue
            name = path.rpartition(".")[2]
            weight = layer.weight
            std = _std(model, way, name, layer)
            weight.copy_(_normal(weight.shape, f"{path}.weight", seed) * std)
            ones = way != "variance_preserving" and name in _ONES
            cast(nn.Parameter, layer.bias).fill_(1.0 if ones else 0.0)


def _std(model: ModelSpec, way: Way, name: str, layer: Conv | Linear) -> float:
    if way == "paper":
        return _STD
    if way == "source2012":
        return _SOURCE_STD.get(name, _STD)
    fan_in = layer.weight[0].numel()
    # He et al. 2015: a ReLU halves the variance of what it passes on; fc8 has none behind it.
    gain = 1.0 if model.activation == "tanh" or name == "fc8" else 2.0
    input_std = _INPUT_STD if name == "conv1" else 1.0
    return math.sqrt(gain / fan_in) / input_std


def _normal(shape: torch.Size, name: str, seed: int) -> Tensor:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return torch.randn(shape, generator=generator)
