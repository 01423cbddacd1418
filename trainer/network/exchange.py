"""The one place where tensors cross between the towers (paper section 3.2 and Fig. 2).

Between two GPUs each direction has streams of its own: a half starts on its way as soon as it is
computed, whatever the GPU that will read it still does, and both directions run at once. The reader
waits where it joins the halves; docs/decisions/0005 says why it joins them at all.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Tower = Literal[0, 1]
Devices = tuple[torch.device, ...]
Streams = dict[torch.device, torch.cuda.Stream]


@dataclass
class Traffic:
    """Bytes that crossed forward; each crossing sends the same number back in the backward pass.

    Counted between towers, whether or not these lie on different devices.
    """

    forward_bytes: int = 0


def exchange(
    halves: Sequence[Tensor], *, to: tuple[Tower, ...], traffic: Traffic
) -> tuple[Tensor, ...]:
    """Give each tower of `to` both towers' halves, joined along dimension 1, on its own device.

    Tower t's half, (n, c, ...), lies on t's device; each result is (n, 2c, ...). What crosses keeps
    its dtype, so that bf16 moves half the bytes of fp32.
    """
    foreign = [halves[1 - tower] for tower in to]
    traffic.forward_bytes += sum(half.numel() * half.element_size() for half in foreign)
    if _lie_together(halves):
        # Both towers read the same tensor.
        return (torch.cat(tuple(halves), dim=1),) * len(to)
    arrived = _Crossing.apply(tuple(halves[tower].device for tower in to), *foreign)
    return tuple(
        torch.cat((halves[0], half) if tower == 0 else (half, halves[1]), dim=1)
        for tower, half in zip(to, arrived, strict=True)
    )


def _lie_together(halves: Sequence[Tensor]) -> bool:
    return halves[0].device == halves[1].device


class _Crossing(torch.autograd.Function):
    """Tensors to other devices, and their gradients back the same way."""

    @staticmethod
    def forward(ctx: Any, destinations: Devices, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.sources = tuple(tensor.device for tensor in tensors)
        # Autograd knows one device's stream for each node, and waits for that alone; so the readers
        # of the gradients are made to wait here, on the streams that they compute on.
        ctx.computing = _computing_streams({*ctx.sources, *destinations})
        return _carry(tensors, destinations, ctx.computing)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_carry(gradients, ctx.sources, ctx.computing)


def _carry(
    tensors: Sequence[Tensor], destinations: Devices, computing: Streams
) -> tuple[Tensor, ...]:
    if not computing:
        return tuple(
            tensor.to(device, non_blocking=True)
            for tensor, device in zip(tensors, destinations, strict=True)
        )
    # All are under way before anyone waits: else the second would wait for the first.
    arrived = [
        _send(tensor, device, computing[tensor.device])
        for tensor, device in zip(tensors, destinations, strict=True)
    ]
    for tensor, half in zip(tensors, arrived, strict=True):
        _, receiving = _copying_streams(tensor.device, half.device)
        computing[half.device].wait_stream(receiving)
        # Its memory is the receiving stream's, to be used again only when its reader is done.
        half.record_stream(computing[half.device])
    return tuple(arrived)


def _send(tensor: Tensor, destination: torch.device, computed_on: torch.cuda.Stream) -> Tensor:
    """Start a copy that waits for nothing but what computes the tensor."""
    sending, receiving = _copying_streams(tensor.device, destination)
    sending.wait_stream(computed_on)
    with torch.cuda.stream(sending), torch.cuda.stream(receiving):
        arrived = tensor.to(destination, non_blocking=True)
    tensor.record_stream(sending)
    return arrived


@functools.cache
def _copying_streams(
    source: torch.device, destination: torch.device
) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
    """Return a direction's streams at either end: torch lets a copy wait for both ends' current."""
    sending, receiving = (
        torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        for device in (source, destination)
    )
    return sending, receiving


def _computing_streams(devices: set[torch.device]) -> Streams:
    """Return the current stream of each device; none where the devices are not all GPUs."""
    if not torch.cuda.is_available() or any(device.type != "cuda" for device in devices):
        return {}
    return {device: torch.cuda.current_stream(device) for device in devices}
