"""Sums of gradients over the replicas, made while the backward pass still runs.

Gradients travel in buckets, each a flat piece of memory on one device. Which bucket a gradient
belongs to and the order in which buckets are summed follow from the parameters' names, whatever
order the gradients arrive in, from the first step on: so the same steps give the same bits.

No DDP: it rebuilds its buckets after the first step, so that with three or more ranks the same
gradients are added in another order from then on.
"""

import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainer.attempt.stopwatch import Stopwatch
from trainer.devices.replicas import Replicas, Summing

# Larger gradients have a bucket to themselves and are summed where they lie; smaller ones are
# copied together, for a collective costs more than the copy (assumed).
BUCKET_SIZE_BYTES = 4 << 20


def plan(parameters: Mapping[str, Tensor], *, bucket_size_bytes: int) -> list[list[str]]:
    """Return the parameters' names by bucket, in the order in which the buckets are summed.

    From the last layer to the first, as the backward pass goes, and a bucket never spans devices.
    A bucket comes where the last of its gradients does.
    """
    # Layers' names sort as they stand in the network: conv1 to conv6, fc6 to fc8.
    names = sorted(sorted(parameters), key=_layer_of, reverse=True)
    closed: list[list[str]] = []
    open_on: dict[torch.device, list[str]] = {}
    for name in names:
        parameter = parameters[name]
        if _size_bytes(parameter) >= bucket_size_bytes:
            closed.append([name])
            continue
        bucket = open_on.setdefault(parameter.device, [])
        held = sum(_size_bytes(parameters[other]) for other in bucket)
        if held + _size_bytes(parameter) > bucket_size_bytes:
            closed.append(bucket)
            open_on[parameter.device] = bucket = []
        bucket.append(name)
    buckets = [*closed, *open_on.values()]
    return sorted(buckets, key=lambda bucket: names.index(bucket[-1]))


def _layer_of(parameter: str) -> str:
    """towers.0.conv1.weight -> conv1."""
    return parameter.rpartition(".")[0].rpartition(".")[2]


def _size_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


class Buckets:
    """Runs backward passes; those of a step leave in each `grad` the sum over all replicas."""

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        replicas: Replicas,
        stopwatch: Stopwatch | None = None,
        *,
        bucket_size_bytes: int = BUCKET_SIZE_BYTES,
    ) -> None:
        """Every replica must construct its buckets of the same parameters.

        Each parameter must have its part in every loss: the sums wait for all gradients.
        """
        self._replicas = replicas
        self._stopwatch = stopwatch or Stopwatch()
        self._buckets: list[_Bucket] = []
        self._is_last = False
        self._num_started = 0
        # The gradients of two GPUs arrive in two threads.
        self._lock = threading.Lock()
        if replicas.size == 1:
            return
        for names in plan(parameters, bucket_size_bytes=bucket_size_bytes):
            bucket = _Bucket([parameters[name] for name in names])
            self._buckets.append(bucket)
            for place, name in enumerate(names):
                register: Any = parameters[name].register_post_accumulate_grad_hook
                register(functools.partial(self._arrived, bucket, place))

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Add the gradients of a loss to each `grad`; after the last of a step, these are summed.

        Raises ReplicaGoneError.
        """
        self._is_last, self._num_started = is_last, 0
        torch.autograd.backward(loss)
        if not is_last:
            return
        assert self._num_started == len(self._buckets), "a parameter had no part in the loss"
        # A loss that is not the last comes before this one: nothing is computed any more.
        self._stopwatch.enter("all_reduce")
        for bucket in self._buckets:
            bucket.wait()

    def _arrived(self, bucket: "_Bucket", place: int, parameter: Tensor) -> None:
        """Take a gradient that is complete in this replica; start what can be started."""
        if not self._is_last:
            return
        bucket.take(place, parameter)
        with self._lock:
            bucket.count()
            # A bucket that is full waits for those before it: collectives must start in the same
            # order in every replica, or they would wait for each other.
            for following in self._buckets[self._num_started :]:
                if not following.is_full:
                    break
                following.start(self._replicas)
                self._num_started += 1


class _Bucket:
    """One bucket: its memory, and how far it has come in a step."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._size = len(parameters)
        self._device = parameters[0].device
        self._views: list[Tensor] = []
        if self._size > 1:
            self._flat, self._views = _flat_with_views(parameters)
        self._num_missing = self._size
        self._filled: torch.cuda.Event | None = None
        self._summing: Summing | None = None

    @property
    def is_full(self) -> bool:
        return self._num_missing == 0

    def take(self, place: int, parameter: Tensor) -> None:
        """Move a parameter's gradient in here; one that is alone in its bucket stays."""
        assert parameter.grad is not None
        if self._views:
            parameter.grad = self._views[place].copy_(parameter.grad)
        else:
            self._flat = _in_memory_order(parameter.grad)

    def count(self) -> None:
        self._num_missing -= 1
        if self.is_full and self._device.type == "cuda":
            self._filled = torch.cuda.current_stream(self._device).record_event()

    def start(self, replicas: Replicas) -> None:
        if self._filled is not None:
            # This may be the thread of another device, on another stream.
            torch.cuda.current_stream(self._device).wait_event(self._filled)
        self._summing = replicas.start_sum(self._flat)
        self._num_missing = self._size

    def wait(self) -> None:
        assert self._summing is not None
        self._summing.wait()
        self._summing = None


def _flat_with_views(parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return a flat tensor and each parameter's part of it, with the parameter's own strides."""
    sizes = [parameter.numel() for parameter in parameters]
    flat = parameters[0].new_empty(sum(sizes))
    views = []
    for parameter, part in zip(parameters, torch.split(flat, sizes), strict=True):
        strides = torch.empty_like(parameter, device="meta").stride()
        views.append(part.as_strided(parameter.shape, strides))
    return flat, views


def _in_memory_order(gradient: Tensor) -> Tensor:
    """Return the elements of a gradient, which has no gaps, as they lie: (n,), sharing memory."""
    return gradient.as_strided((gradient.numel(),), (1,))
