"""The two-tower network (paper section 3, Fig. 2), in the paper's order or the 2012 source's."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import Tensor, nn

from trainer.contract.geometry import INPUT_PADDING
from trainer.contract.spec import ModelSpec
from trainer.dropout import DropoutDraw, drop
from trainer.early_layer import EarlyLayer
from trainer.exchange import Traffic, exchange
from trainer.layers import Layer, layers


class Conv(nn.Conv2d):
    """A convolution in the arithmetic of its input; its weights stay fp32."""

    def __init__(self, layer: Layer, device: torch.device) -> None:
        super().__init__(
            layer.inputs,
            layer.outputs,
            layer.kernel,
            stride=layer.stride,
            padding=layer.padding,
            device=device,
        )

    def reset_parameters(self) -> None:
        """Leave the weights unset: torch's own beginning is in neither recipe."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h', w')."""
        assert self.bias is not None
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.conv2d(x, weight, bias, self.stride, cast(tuple[int, int], self.padding))


class Linear(nn.Linear):
    """A fully connected layer in the arithmetic of its input; its weights stay fp32."""

    def __init__(self, layer: Layer, device: torch.device) -> None:
        super().__init__(layer.inputs, layer.outputs, device=device)

    def reset_parameters(self) -> None:
        """Leave the weights unset, as in Conv."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class Tower(nn.Module):
    """One half of the network: what the paper puts on one GPU, fc8 left out."""

    def __init__(self, model: ModelSpec, device: torch.device) -> None:
        super().__init__()
        conv1, conv2, conv3, conv4, conv5, fc6, fc7, _ = layers(model)
        self.conv1, self.conv2 = Conv(conv1, device), Conv(conv2, device)
        self.conv3, self.conv4 = Conv(conv3, device), Conv(conv4, device)
        self.conv5 = Conv(conv5, device)
        self.fc6, self.fc7 = Linear(fc6, device), Linear(fc7, device)
        self._tanh = model.activation == "tanh"
        self._overlapping = model.overlapping_pool
        self.after_conv1, self.after_conv2 = (
            EarlyLayer(model, conv, device, activate=self._activate, pool=self._pool)
            for conv in (conv1, conv2)
        )

    def early(self, images: Tensor) -> Tensor:
        """Layers 1 and 2: images (n, 3, s, s) -> pool2 (n, 128w, 13, 13) at 224 pixels."""
        x = self.conv1(F.pad(images, (0, INPUT_PADDING, 0, INPUT_PADDING)))
        x = self.conv2(self.after_conv1(x))
        pooled: Tensor = self.after_conv2(x)
        return pooled

    def middle(self, both: Tensor) -> Tensor:
        """Layers 3 to 5: both pool2 (n, 256w, 13, 13) -> pool5, flattened (n, 4608w)."""
        x = self._activate(self.conv3(both))
        x = self._activate(self.conv4(x))
        x = self._pool(self._activate(self.conv5(x)))
        # (n, c, h, w) -> (n, c * h * w)
        return x.flatten(1)

    def hidden(self, layer: nn.Module, both: Tensor) -> Tensor:
        """Apply fc6 or fc7 to both towers' features: (n, inputs) -> (n, 2048w)."""
        return self._activate(layer(both))

    def _activate(self, x: Tensor) -> Tensor:
        return torch.tanh(x) if self._tanh else F.relu(x, inplace=True)

    def _pool(self, x: Tensor) -> Tensor:
        # Section 3.4. Both halve the edge, rounding down: 55 -> 27 -> 13 -> 6.
        if self._overlapping:
            return F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)
        return F.max_pool2d(x, kernel_size=2, stride=2)


class AlexNet(nn.Module):
    """Two towers and fc8, on two devices or on one.

    The names of the weights do not depend on the devices, so one state dict loads on any. The
    weights are left unset: initialise or load them.
    """

    def __init__(self, model: ModelSpec, devices: Sequence[torch.device]) -> None:
        super().__init__()
        first, second = devices
        self.towers = nn.ModuleList([Tower(model, first), Tower(model, second)])
        self.fc8 = Linear(layers(model)[-1], first)
        self._dropout = model.dropout
        self.traffic = Traffic()

    def forward(self, images: tuple[Tensor, Tensor], draw: DropoutDraw | None = None) -> Tensor:
        """Return logits, (n, classes), on the first tower's device.

        Each tower reads the images, (n, 3, s, s), from its own device. With a draw, dropout is
        applied as in training; without one, as at test. Computes in the images' dtype.
        """
        left, right = self._towers()
        both = self._exchange(left.early(images[0]), right.early(images[1]))
        both = self._exchange(left.middle(both[0]), right.middle(both[1]))
        both = self._exchange(
            self._drop(left.hidden(left.fc6, both[0]), draw, "fc6", 0),
            self._drop(right.hidden(right.fc6, both[1]), draw, "fc6", 1),
        )
        fc7 = (
            self._drop(left.hidden(left.fc7, both[0]), draw, "fc7", 0),
            self._drop(right.hidden(right.fc7, both[1]), draw, "fc7", 1),
        )
        (features,) = exchange(fc7, to=(0,), traffic=self.traffic)
        logits: Tensor = self.fc8(features)
        return logits

    def _towers(self) -> tuple[Tower, Tower]:
        left, right = self.towers
        assert isinstance(left, Tower)
        assert isinstance(right, Tower)
        return left, right

    def _exchange(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        first, second = exchange((left, right), to=(0, 1), traffic=self.traffic)
        return first, second

    def _drop(self, x: Tensor, draw: DropoutDraw | None, layer: str, tower: int) -> Tensor:
        return drop(x, draw, layer=layer, tower=tower) if self._dropout else x
