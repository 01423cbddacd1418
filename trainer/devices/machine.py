"""Settings of this process that decide how, or how fast, torch computes."""

import ctypes
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

# glibc's mallopt parameters, malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

_PROJECT = "alexnet-training-service"

_CPU_INFO = Path("/proc/cpuinfo")
# What names a kind of processor there: the first three on x86, the others on Arm.
_KIND_OF_PROCESSOR = ("model name", "cpu family", "model", "CPU implementer", "CPU part")


def settle(devices: Sequence[torch.device], *, num_threads: int) -> None:
    """Make torch deterministic, with a fixed number of threads, before its first computation.

    And exact: what a spec calls fp32 is not TF32, whose products have 10 bits.
    """
    torch.set_num_threads(num_threads)
    # Read when CUDA starts; without it cuBLAS may add in another order each time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if devices[0].type == "cpu":
        # The same, without importing torch's compiler to set it too: two seconds (docs/LOG.md).
        torch.set_deterministic_debug_mode("error")
    else:
        torch.use_deterministic_algorithms(True)
    # Would fill every new tensor; nothing here reads memory it has not written.
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    # On unless said otherwise, for convolutions alone.
    torch.backends.cudnn.allow_tf32 = False
    if devices[0].type == "cpu":
        keep_freed_memory()
    else:
        torch.cuda.set_device(devices[0])


def keep_freed_memory() -> None:
    """Let malloc keep freed activations for the next step instead of unmapping them.

    Else every large tensor is mapped anew and its pages fault in one by one. Measured on 2 cores: a
    ReLU of 64 x 48 x 55 x 55 fp32 takes 16 ms so, 2 ms with its memory kept. glibc only.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def numerics(devices: Sequence[torch.device]) -> dict[str, str]:
    """Return what of this process may change the last bit of a result, by its name for people."""
    try:
        project = version(_PROJECT)
    except PackageNotFoundError:
        project = "not installed"
    return {
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        "processor": _processor(),
        # In order, each once: two GPUs of a kind compute as one does.
        "device": ", ".join(dict.fromkeys(map(_name_of, devices))),
        "torch threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "project": project,
    }


def _processor() -> str:
    """Return the kind of processor, by which oneDNN and MKL choose: AMX or not, block sizes."""
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        lines = []
    parts = [line.partition(":") for line in lines]
    facts = {fact.strip(): value.strip() for fact, _, value in parts}
    told = [f"{fact} {facts[fact]}" for fact in _KIND_OF_PROCESSOR if fact in facts]
    return ", ".join(told) or platform.machine()


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
