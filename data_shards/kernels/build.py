"""Compiling and loading C++ kernels: once a machine, into a cache.

Built with g++ for the very processor at hand. The name of a library is a digest of its sources, the
compiler, its options and the processor's features, so that machines may share a cache.
"""

import ctypes
import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data_shards.user_cache import kernels_folder

# Headers for every kernel lie here.
_HEADERS = Path(__file__).parent
_OPTIONS = (
    *("-O3", "-march=native", "-std=c++17", "-fPIC"),
    # What sqrt does with errno, and traps, keep a loop from becoming vectors. NaN stays NaN.
    *("-fno-math-errno", "-fno-trapping-math"),
)
_BUILD_TIMEOUT_S = 120.0
_LOOK_EVERY_S = 0.05
_PROCESSORS = Path("/proc/cpuinfo")


class KernelError(Exception):
    """The kernels cannot be built here; the message says why."""


@functools.cache
def load_kernel(
    source: Path, *, options: tuple[str, ...] = (), linked: tuple[Path, ...] = ()
) -> ctypes.CDLL | None:
    """Return the library made from a C++ file, or None, with a warning, without.

    `options` are the compiler's, beyond those of every kernel; `linked` are the libraries it needs.
    """
    try:
        return _open(source, (*_OPTIONS, *options), linked)
    except (KernelError, OSError, subprocess.SubprocessError) as error:
        warnings.warn(
            f"the kernel {source.stem} is not used, a slower path is: {error}", stacklevel=2
        )
        return None


def _open(source: Path, options: tuple[str, ...], linked: tuple[Path, ...]) -> ctypes.CDLL:
    library = _build(source, options, linked)
    try:
        return ctypes.CDLL(str(library))
    except OSError:
        # A machine that lost power may have left but a part of it under its name.
        library.unlink(missing_ok=True)
        return ctypes.CDLL(str(_build(source, options, linked)))


def _build(source: Path, options: tuple[str, ...], linked: tuple[Path, ...]) -> Path:
    wanted = os.environ.get("CXX", "g++")
    compiler = shutil.which(wanted)
    if compiler is None:
        raise KernelError(
            f"the compiler {wanted!r} is not installed; install g++ (Debian: apt-get install g++), "
            "or name one program by the environment variable CXX"
        )
    libraries = tuple(map(str, linked))
    digest = _digest(source, compiler, (*options, *libraries))
    library = kernels_folder() / f"{source.stem}-{digest}.so"
    if library.exists():
        return library
    with _alone(library.parent), tempfile.TemporaryDirectory(dir=library.parent) as folder:
        if library.exists():
            return library
        made = Path(folder) / library.name
        command = [compiler, *options, f"-I{_HEADERS}", "-shared", str(source), "-o", str(made)]
        done = subprocess.run(
            [*command, *libraries],
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_TIMEOUT_S,
        )
        if done.returncode:
            raise KernelError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        # Whole or not at all, whoever else builds it.
        made.replace(library)
    return library


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait while others build, as the loaders of a new machine would at once, but not for ever.

    Where that fails all build, and the last one's library stays: as good as the first.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        patience = time.monotonic() + _BUILD_TIMEOUT_S
        while not _lock(descriptor) and time.monotonic() < patience:
            time.sleep(_LOOK_EVERY_S)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock it until it is closed; return whether that is settled: a network's disk may not lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _digest(source: Path, compiler: str, options: tuple[str, ...]) -> str:
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=False
    ).stdout
    headers = {*source.parent.glob("*.h"), *_HEADERS.glob("*.h")}
    parts = (
        *(file.read_text() for file in [source, *sorted(headers)]),
        # By its path too: a wrapper tells the version of what it wraps.
        compiler,
        version,
        *options,
        platform.machine(),
        processor_features(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def processor_features() -> str:
    """Return the names of the processor's instruction sets, which -march=native turns into code."""
    # Another system than Linux, or a container that hides it, has no such file.
    with suppress(OSError):
        for line in _PROCESSORS.read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()
