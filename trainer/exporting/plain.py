"""The trained network as torch's own layers in a row, on one device: for use elsewhere.

Two towers that do not read each other are one layer with two groups, so that `plain_alexnet`
computes what `AlexNet` computes without towers, devices or exchanges. Its weights are those of the
towers, laid one after the other; `plain_weights` and `tower_weights` turn one into the other.
"""

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import Tensor, nn

from trainer.contract.geometry import INPUT_PADDING
from trainer.contract.layers import Layer, Operation, layers
from trainer.contract.model_spec import ModelSpec
from trainer.network.dropout import TEST_SCALE
from trainer.network.lrn import ALPHA, BETA, SIZE, K, within_map_norm

Tensors = Mapping[str, Tensor]

MEAN_IMAGE = "mean.image"
"""Name of the mean image among the plain network's weights."""


def plain_alexnet(model: ModelSpec) -> nn.Sequential:
    """Return the network: images (n, 3, s, s), RGB on 0-255, any dtype -> logits (n, classes).

    Its first layer subtracts the training set's mean image; without the last one, `network[:-1]`,
    it gives the features that section 6 compares images by. `eval()` is the network as tested.
    `train()` drops units of fc6 and fc7, with torch's generator where AlexNet draws by an image's
    place; an output counts in training and at test what it counts there.
    """
    network = nn.Sequential()
    network.add_module("mean", SubtractMean(model.input_size))
    network.add_module("padding", nn.ZeroPad2d((0, INPUT_PADDING, 0, INPUT_PADDING)))
    for name, module in _modules(model):
        network.add_module(name, module)
    return network


class SubtractMean(nn.Module):
    """Pixels (n, 3, s, s) -> floating pixels less the mean image, (3, s, s)."""

    image: Tensor

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.register_buffer("image", torch.zeros(3, input_size, input_size))

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute in the mean image's dtype."""
        return pixels.to(self.image.dtype) - self.image


class GroupedLrn(nn.LocalResponseNorm):
    """LRN of each group of channels by itself: a tower's window ends where its channels end."""

    def __init__(self, num_groups: int, *, alpha: float) -> None:
        # torch divides α by the size of the window.
        super().__init__(SIZE, alpha=SIZE * alpha, beta=BETA, k=K)
        self.num_groups = num_groups

    def forward(self, x: Tensor) -> Tensor:
        """(n, groups * c, h, w) -> the same."""
        _, channels, h, w = x.shape
        # (n, groups * c, h, w) -> (n * groups, c, h, w), and back
        grouped = x.reshape(-1, channels // self.num_groups, h, w)
        return super().forward(grouped).reshape(x.shape)

    def extra_repr(self) -> str:
        """Tell of the groups too where the network is printed."""
        constants = f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
        return f"groups={self.num_groups}, {constants}"


class WithinMapNorm(nn.Module):
    """The 2012 source's second normalisation of layer 2."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> the same."""
        return within_map_norm(x)


class GroupedLinear(nn.Linear):
    """A fully connected layer of each group of features by itself; inputs are a group's."""

    def __init__(self, inputs: int, outputs: int, *, num_groups: int) -> None:
        super().__init__(inputs, outputs)
        self.num_groups = num_groups

    def forward(self, x: Tensor) -> Tensor:
        """(n, groups * inputs) -> (n, outputs)."""
        # (n, features) -> (n, features, 1): a convolution over one position
        weight = self.weight.unsqueeze(2)
        return F.conv1d(x.unsqueeze(2), weight, self.bias, groups=self.num_groups).squeeze(2)


class Scale(nn.Module):
    """x times a constant, in training as at test."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.factor * x

    def extra_repr(self) -> str:
        """Tell the factor where the network is printed."""
        return str(self.factor)


def plain_weights(model: ModelSpec, weights: Tensors, mean_image: Tensor) -> dict[str, Tensor]:
    """Return the state dict of `plain_alexnet` that computes what AlexNet does with `weights`.

    `mean_image`, float32 (3, s, s) on 0-255, is what is subtracted from an image.
    """
    plain = {MEAN_IMAGE: mean_image}
    for layer in _weighted_layers(model):
        for part in ("weight", "bias"):
            halves = [weights[name] for name in _tower_names(layer, part)]
            # (outputs, ...) a tower -> (towers * outputs, ...)
            plain[f"{layer.name}.{part}"] = torch.cat(halves)
    return plain


def tower_weights(model: ModelSpec, plain: Tensors) -> dict[str, Tensor]:
    """Return the state dict of AlexNet: what `plain_weights` was given, the mean image left out."""
    weights = {}
    for layer in _weighted_layers(model):
        for part in ("weight", "bias"):
            names = _tower_names(layer, part)
            halves = plain[f"{layer.name}.{part}"].chunk(len(names))
            weights.update({name: half.clone() for name, half in zip(names, halves, strict=True)})
    return weights


def _weighted_layers(model: ModelSpec) -> list[Layer]:
    return [layer for layer in layers(model) if layer.has_weights]


def _tower_names(layer: Layer, part: str) -> list[str]:
    """Return the names in AlexNet's state dict of a layer's weight or bias, tower by tower."""
    if layer.name == "fc8":
        return [f"fc8.{part}"]
    return [f"towers.{tower}.{layer.name}.{part}" for tower in range(layer.num_towers)]


def _modules(model: ModelSpec) -> Iterator[tuple[str, nn.Module]]:
    for layer in layers(model):
        if layer.has_weights:
            yield layer.name, _weighted(layer)
        for operation in layer.then:
            yield f"{layer.name}_{operation}", _operation(operation, model, layer)
            if operation == "dropout" and not model.inverted_dropout:
                # torch doubles what it keeps in training; the paper halves all at test instead.
                yield f"{layer.name}_halve", Scale(TEST_SCALE)


def _weighted(layer: Layer) -> nn.Module:
    # conv1 of either tower reads the whole image.
    shared = layer.reads_both or layer.name == "conv1"
    num_groups = 1 if shared else layer.num_towers
    outputs = layer.num_towers * layer.outputs
    if layer.kind == "conv":
        return nn.Conv2d(
            num_groups * layer.inputs,
            outputs,
            layer.kernel,
            stride=layer.stride,
            padding=layer.padding,
            groups=num_groups,
        )
    if num_groups == 1:
        return nn.Linear(layer.inputs, outputs)
    return GroupedLinear(layer.inputs, outputs, num_groups=num_groups)


def _operation(operation: Operation, model: ModelSpec, layer: Layer) -> nn.Module:
    match operation:
        case "activation":
            return nn.Tanh() if model.activation == "tanh" else nn.ReLU()
        case "lrn":
            alpha = ALPHA / SIZE if model.recipe == "source2012" else ALPHA
            return GroupedLrn(layer.num_towers, alpha=alpha)
        case "within_map_norm":
            return WithinMapNorm()
        case "pool":
            overlapping = model.overlapping_pool
            return nn.MaxPool2d(3 if overlapping else 2, stride=2, ceil_mode=overlapping)
        case "flatten":
            return nn.Flatten()
        case "dropout":
            return nn.Dropout(1 - TEST_SCALE)
