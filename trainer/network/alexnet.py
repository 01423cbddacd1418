"""The network of towers (paper section 3, Fig. 2), built from the table of `contract.layers`."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import Tensor, nn

from trainer.contract.geometry import INPUT_PADDING
from trainer.contract.layers import Layer, Operation, layers
from trainer.contract.model_spec import ModelSpec
from trainer.network.dropout import DropoutDraw, drop
from trainer.network.early_layer import EarlyLayer
from trainer.network.exchange import Traffic, exchange
from trainer.network.operations import activation, pooling
from trainer.network.working_copy import WorkingCopy


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
        assert self.bias is not None
        self.working = {"weight": WorkingCopy(self.weight), "bias": WorkingCopy(self.bias)}

    def reset_parameters(self) -> None:
        """Leave the weights unset: torch's own beginning is in neither recipe."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h', w')."""
        weight, bias = (copy.of_dtype(x.dtype) for copy in self.working.values())
        return F.conv2d(x, weight, bias, self.stride, cast(tuple[int, int], self.padding))


class Linear(nn.Linear):
    """A fully connected layer in the arithmetic of its input; its weights stay fp32."""

    def __init__(self, layer: Layer, device: torch.device) -> None:
        super().__init__(layer.inputs, layer.outputs, device=device)
        self.working = {"weight": WorkingCopy(self.weight), "bias": WorkingCopy(self.bias)}

    def reset_parameters(self) -> None:
        """Leave the weights unset, as in Conv."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        weight, bias = (copy.of_dtype(x.dtype) for copy in self.working.values())
        return F.linear(x, weight, bias)


class Tower(nn.Module):
    """One column of the network: what the paper puts on one GPU, fc8 left out."""

    def __init__(self, model: ModelSpec, number: int, device: torch.device) -> None:
        super().__init__()
        self._number, self._inverted = number, model.inverted_dropout
        for layer in layers(model)[:-1]:
            if layer.has_weights:
                weighted = Conv if layer.kind == "conv" else Linear
                self.add_module(layer.name, weighted(layer, device))
        self.early = nn.ModuleDict(
            {layer.name: EarlyLayer(model, layer, device) for layer in layers(model)[:2]}
        )
        self._operations: dict[Operation, Callable[[Tensor], Tensor]] = {
            "activation": activation(model),
            "pool": pooling(model),
            # (n, c, h, w) -> (n, c * h * w)
            "flatten": lambda x: x.flatten(1),
        }

    def forward(self, layer: Layer, x: Tensor, draw: DropoutDraw | None) -> Tensor:
        """Apply one layer, and what follows it, to what this tower reads of the one before."""
        if layer.name == "conv1":
            x = F.pad(x, (0, INPUT_PADDING, 0, INPUT_PADDING))
        if layer.has_weights:
            x = self.get_submodule(layer.name)(x)
        if layer.name in self.early:
            return cast(Tensor, self.early[layer.name](x))
        for operation in layer.then:
            if operation == "dropout":
                x = drop(x, draw, layer=layer.name, tower=self._number, inverted=self._inverted)
            else:
                x = self._operations[operation](x)
        return x


class AlexNet(nn.Module):
    """One or two towers and fc8, each tower on its own device or both on one.

    The names of the weights do not depend on the devices, so one state dict loads on any. The
    weights are left unset: initialise or load them.
    """

    def __init__(self, model: ModelSpec, devices: Sequence[torch.device]) -> None:
        """`devices` are the towers' two; a network of one tower lies on the first."""
        super().__init__()
        self._layers = layers(model)
        self.towers = nn.ModuleList(
            Tower(model, number, device) for number, device in enumerate(devices[: model.towers])
        )
        self.fc8 = Linear(self._layers[-1], devices[0])
        self.traffic = Traffic()

    def working_copies(self) -> dict[str, WorkingCopy]:
        """Return each parameter's copy in the arithmetic of the towers, by the parameter's name."""
        return {
            f"{path}.{name}": copy
            for path, layer in self.named_modules()
            if isinstance(layer, Conv | Linear)
            for name, copy in layer.working.items()
        }

    def forward(
        self,
        images: tuple[Tensor, Tensor],
        draw: DropoutDraw | None = None,
        *,
        crossing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Tensor:
        """Return logits, (n, classes), on the first tower's device.

        Each tower reads the images, (n, 3, s, s), from its own device. With a draw, dropout is
        applied as in training; without one, as at test. Computes in the images' dtype. What
        `crossing` returns is entered while tensors cross between the towers.
        """
        *body, fc8 = self._layers
        parts: tuple[Tensor, ...] = images[: len(self.towers)]
        for layer in body:
            if layer.reads_both:
                with crossing():
                    parts = exchange(parts, to=(0, 1), traffic=self.traffic)
            parts = tuple(
                tower(layer, part, draw) for tower, part in zip(self.towers, parts, strict=True)
            )
        if fc8.reads_both:
            with crossing():
                parts = exchange(parts, to=(0,), traffic=self.traffic)
        logits: Tensor = self.fc8(parts[0])
        return logits
