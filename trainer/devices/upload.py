"""What the reader gives, brought to a device without a wait for what the device still does.

A copy to a GPU from pageable memory may wait until its stream is empty ("API synchronization
behavior" of the CUDA runtime); one from pinned memory is only queued. So arrays are copied to
pinned memory first, by the host, which has the time while the GPU computes.
"""

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


def stage(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor from which `Tensor.to` this device, non-blocking, waits not.

    For a GPU it is a copy: the array may be written again at once, and torch itself keeps pinned
    memory from being used again before it was read. Elsewhere it shares the array's memory.
    """
    tensor = torch.from_numpy(array)
    return tensor.pin_memory() if device.type == "cuda" else tensor


def upload(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Return an array on a device; on the CPU it shares the array's memory."""
    return stage(array, device).to(device, non_blocking=True)
