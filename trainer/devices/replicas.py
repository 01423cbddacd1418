"""This process among the replicas of an attempt, and sums over them.

Small values travel over the default process group (gloo, on the CPU), gradients on GPUs over groups
of their own (nccl): one for each of a replica's GPUs, for a communicator has one device.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.errors import ReplicaGoneError, is_out_of_memory

T = TypeVar("T")

# gloo has no error of its own for a replica that is gone, and nccl's is for all that can be wrong;
# what is wrong with the values themselves names no transport.
_OF_ANOTHER = re.compile(
    r"gloo|nccl|Dist\w*Error|connection|socket|peer|broken pipe|timed? ?out", re.IGNORECASE
)


class Summing:
    """A sum on its way."""

    def __init__(self, work: dist.Work) -> None:
        self._work = work

    def wait(self) -> None:
        """Let what is computed from now on find the sum. Raises ReplicaGoneError."""
        with _needing_the_others():
            self._work.wait()


class Replicas:
    """This process among the replicas of an attempt; alone when torch.distributed is not set up.

    All that needs the other replicas raises ReplicaGoneError when one of them is gone.
    """

    def __init__(self, *devices: torch.device) -> None:
        """`devices` are those of the towers; every replica must be constructed alike."""
        joined = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if joined else 0
        self.size = dist.get_world_size() if joined else 1
        self._gpu_groups: dict[torch.device, dist.ProcessGroup] = {}
        for device in devices:
            if self.size > 1 and device.type == "cuda" and device not in self._gpu_groups:
                # With its device named it connects now, in the same order in every replica.
                group = dist.new_group(backend="nccl", device_id=device)
                assert isinstance(group, dist.ProcessGroup), "every replica is a member"
                self._gpu_groups[device] = group

    def sum(self, *values: float) -> list[float]:
        """Return the sum of each value over all replicas, in double precision."""
        totals = torch.tensor(values, dtype=torch.float64)
        if self.size > 1:
            with _needing_the_others():
                dist.all_reduce(totals)
        return [float(total) for total in totals.tolist()]

    def gather(self, value: T) -> list[T]:
        """Return every replica's small value, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _needing_the_others():
            dist.all_gather_object(values, value)
        return values

    def start_sum(self, values: Tensor) -> Summing:
        """Begin to sum a contiguous tensor over all replicas, in place.

        Sums must be started in the same order in every replica, whatever their devices: that is
        what nccl asks of groups that are used side by side.
        """
        # gloo, the default group, for the CPU.
        group = self._gpu_groups.get(values.device)
        with _needing_the_others():
            work = dist.all_reduce(values, group=group, async_op=True)
        assert work is not None, "every replica is a member"
        return Summing(work)


@contextmanager
def _needing_the_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) or not _OF_ANOTHER.search(f"{type(error).__name__} {error}"):
            raise
        raise ReplicaGoneError(error) from error
