"""Our C++ kernels, loaded; compiled where they have not been."""

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from data_shards.kernels.build import load_kernel


def load(name: str, *options: str) -> ctypes.CDLL | None:
    """Return the library made from NAME.cpp in this package, or None, with a warning, without.

    `options` are the compiler's, beyond those of every kernel.
    """
    source = Path(__file__).with_name(f"{name}.cpp")
    return load_kernel(source, options=("-fopenmp", *options), linked=_threads_of_torch())


def address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return where a contiguous tensor's elements lie, for a kernel; null for None.

    The caller holds the tensor until the kernel is done: an address keeps no memory.
    """
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _threads_of_torch() -> tuple[Path, ...]:
    """Return what links the OpenMP that torch has loaded, for two of them would spin in turn."""
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return tuple(found[:1])
