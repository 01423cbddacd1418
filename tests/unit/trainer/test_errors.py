import errno

import pytest
import torch

from trainer.contract.attempt import Reason
from trainer.errors import reason_of


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 400000000000 bytes. Error code 12"
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_want_of_memory_is_told_apart(error: BaseException) -> None:
    assert reason_of(error) is Reason.OUT_OF_MEMORY


def test_the_host_allocator_still_says_it_as_is_told_apart() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert reason_of(refused.value) is Reason.OUT_OF_MEMORY


@pytest.mark.parametrize("error", [RuntimeError("shape"), OSError(errno.EIO, "I/O error")])
def test_other_errors_are_crashes(error: BaseException) -> None:
    assert reason_of(error) is Reason.CRASHED
