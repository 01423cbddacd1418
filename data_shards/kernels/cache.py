"""Where what a machine made for itself, such as compiled kernels, is kept."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return a folder of that name: in the user's cache, or one that ends with the process."""
    folder = kept_folder(name)
    if folder is None:
        # Never a known name in a shared folder: what lies there is executed.
        folder = Path(tempfile.mkdtemp(prefix=f"alexnet-{name}-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


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
