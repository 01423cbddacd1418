"""Data parallelism: sums over replicas, in our own fixed buckets.

Small values travel over the default process group (gloo, on the CPU); gradients over a group of
their own where they lie on GPUs (nccl).

No DDP: it rebuilds its buckets after the first step, so that with three or more ranks the same
gradients are added in another order from then on. Here the order of every sum is fixed from the
first step by the names of the parameters.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

# Gradients from this size are summed where they lie; smaller ones are gathered into one buffer, for
# a collective costs more than the copy (assumed; 1 MiB of fp32).
_IN_PLACE_FROM = 1 << 18


class Replicas:
    """This process among the replicas of an attempt; alone when torch.distributed is not set up."""

    def __init__(self, device: torch.device) -> None:
        """`device` is that of the first tower; every replica must be constructed alike."""
        joined = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if joined else 0
        self.size = dist.get_world_size() if joined else 1
        on_gpu = self.size > 1 and device.type == "cuda"
        self._gradient_group: dist.ProcessGroup | None = None  # the default group
        if on_gpu:
            group = dist.new_group(backend="nccl")
            assert isinstance(group, dist.ProcessGroup), "every replica is a member"
            self._gradient_group = group

    def sum(self, *values: float) -> list[float]:
        """Return the sum of each value over all replicas, in double precision."""
        totals = torch.tensor(values, dtype=torch.float64)
        if self.size > 1:
            dist.all_reduce(totals)
        return [float(total) for total in totals.tolist()]

    def gather(self, value: T) -> list[T]:
        """Return every replica's small value, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum the gradients over all replicas; the order of parameters must be the same in each."""
        if self.size == 1:
            return
        small: dict[torch.device, list[Tensor]] = {}
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            if gradient.numel() >= _IN_PLACE_FROM and gradient.is_contiguous():
                dist.all_reduce(gradient, group=self._gradient_group)
            else:
                small.setdefault(gradient.device, []).append(gradient)
        for gradients in small.values():
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat, group=self._gradient_group)
            pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
            for gradient, piece in zip(gradients, pieces, strict=True):
                gradient.copy_(piece.view_as(gradient))
