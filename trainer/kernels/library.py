"""Compiling and loading our C++ kernels: once a machine, into a cache.

Built with g++ for the very processor at hand. The name of a library is a digest of its sources, the
compiler, its options and the processor's features, so that machines may share a cache.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor

from trainer.kernels.cache import cache_folder

_OPTIONS = (
    *("-O3", "-march=native", "-std=c++17", "-fPIC", "-fopenmp"),
    # What sqrt does with errno, and traps, keep a loop from becoming vectors. NaN stays NaN.
    *("-fno-math-errno", "-fno-trapping-math"),
)
_BUILD_TIMEOUT_S = 120.0


class KernelError(Exception):
    """The kernels cannot be built here; the message says why."""


@functools.cache
def load(name: str, *options: str) -> ctypes.CDLL | None:
    """Return the library made from NAME.cpp in this package, or None, with a warning, without.

    `options` are the compiler's, beyond those of every kernel.
    """
    source = Path(__file__).with_name(f"{name}.cpp")
    try:
        return _open(source, (*_OPTIONS, *options))
    except (KernelError, OSError, subprocess.SubprocessError) as error:
        warnings.warn(
            f"the fused kernel {name} is not used, a slower path is: {error}", stacklevel=2
        )
        return None


def address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return where a contiguous tensor's elements lie, for a kernel; null for None.

    The caller holds the tensor until the kernel is done: an address keeps no memory.
    """
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _open(source: Path, options: tuple[str, ...]) -> ctypes.CDLL:
    library = _build(source, options)
    try:
        return ctypes.CDLL(str(library))
    except OSError:
        # A machine that lost power may have left but a part of it under its name.
        library.unlink(missing_ok=True)
        return ctypes.CDLL(str(_build(source, options)))


def _build(source: Path, options: tuple[str, ...]) -> Path:
    wanted = os.environ.get("CXX", "g++")
    compiler = shutil.which(wanted)
    if compiler is None:
        raise KernelError(
            f"the compiler {wanted!r} is not installed; install g++ (Debian: apt-get install g++), "
            "or name one program by the environment variable CXX"
        )
    threads = _threads_of_torch()
    digest = _digest(source, compiler, (*options, *threads))
    library = cache_folder("kernels") / f"{source.stem}-{digest}.so"
    if library.exists():
        return library
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [compiler, *options, "-shared", str(source), "-o", str(made), *threads]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_BUILD_TIMEOUT_S
        )
        if done.returncode:
            raise KernelError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        # Whole or not at all, whoever else builds it.
        made.replace(library)
    return library


def _threads_of_torch() -> tuple[str, ...]:
    """Return what links the OpenMP that torch has loaded, for two of them would spin in turn."""
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return (str(found[0]),) if found else ()


def _digest(source: Path, compiler: str, options: tuple[str, ...]) -> str:
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=False
    ).stdout
    sources = [source, *sorted(source.parent.glob("*.h"))]
    parts = (
        *(file.read_text() for file in sources),
        # By its path too: a wrapper tells the version of what it wraps.
        compiler,
        version,
        *options,
        platform.machine(),
        _features(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _features() -> str:
    """Return the processor's instruction sets, which -march=native turns into code."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("flags", "Features")):
            return line
    return torch.backends.cpu.get_cpu_capability()
