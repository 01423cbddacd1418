"""Forcing files and the names of files to disk.

trainer.contract.durable has the same two functions, since neither package may import the other.
"""

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Force a file's content to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Force a folder's names to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
