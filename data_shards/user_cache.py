"""Where what a machine made for itself is kept: kernels, shards, what was digested."""

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

KERNELS_VARIABLE = "ALEXNET_KERNELS"
"""Where a process that starts others has them keep their kernels: in a folder that it removes, if
need be, once they have ended. They may be killed, and so cannot."""


def kernels_folder() -> Path:
    """Return the folder of compiled kernels: as whoever started this process says, or its own."""
    told = Path(os.environ.get(KERNELS_VARIABLE, ""))
    if told.is_absolute() and told.is_dir() and os.access(told, os.W_OK | os.X_OK):
        return told
    return cache_folder("kernels")


def cache_folder(name: str) -> Path:
    """Return a folder of that name: in the user's cache, or one that ends with the process."""
    return kept_folder(name) or _temporary(name, tempfile.gettempdir())


def kept_folder(name: str) -> Path | None:
    """Return a folder of that name in the user's cache; None where that cannot be written to."""
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # The XDG specification: a path that is not absolute is to be ignored.
        caches = configured if configured.is_absolute() else Path.home() / ".cache"
        folder = caches / "alexnet-training-service" / name
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    except (OSError, RuntimeError):
        # RuntimeError: the user has no home.
        pass
    return None


@functools.cache
def _temporary(name: str, parent: str) -> Path:
    # Never a known name in a shared folder: what lies there is executed.
    folder = Path(tempfile.mkdtemp(prefix=f"alexnet-{name}-", dir=parent))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
