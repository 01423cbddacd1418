"""Pins, and the deletion of checkpoints that respects them, whoever deletes and on which node.

A pin is a file in the checkpoint's folder. Whoever deletes first gives the folder another name,
then looks for a pin, and gives the name back where there is one. Whoever pins looks, after the pin
is on disk, whether the folder still has its name: if so, whoever deletes later sees the pin.
"""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from trainer.contract.durable import sync_file, sync_folder
from trainer.contract.run_directory import RunDirectory

_log = logging.getLogger(__name__)

PIN_NAME = "pinned"


def is_pinned(folder: Path) -> bool:
    """Say whether a checkpoint is pinned; one that is not there is not."""
    try:
        # The folder is listed, and the pin not asked for: over NFS a file that was not there a
        # moment ago may be told not to be there from memory, and a folder that is opened may not.
        return PIN_NAME in os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return False


def pin(folder: Path) -> bool:
    """Keep a checkpoint from deletion; False: it is gone. Once True, it stays until it is unpinned.

    One that is being deleted at that moment may be told to be gone, and stay after all.
    """
    mark = folder / PIN_NAME
    try:
        mark.touch()
        sync_file(mark)
        sync_folder(folder)
        return is_pinned(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False


def unpin(folder: Path) -> bool:
    """Let a checkpoint be deleted again; False: it is gone."""
    try:
        (folder / PIN_NAME).unlink(missing_ok=True)
        sync_folder(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def discard(folder: Path) -> bool:
    """Delete a checkpoint, unless it is pinned; False: it is, or it was gone already.

    Half a folder is never seen under the final name.
    """
    if is_pinned(folder):
        return False
    aside = folder.with_name(f".{folder.name}.deleted")
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return False
    return not _restored(aside, folder) and _removed(aside)


def clear_discarded(run: RunDirectory) -> None:
    """Finish the deletions that death cut short; what was pinned meanwhile gets its name back.

    One that cannot be finished now is logged, and left for the next time.
    """
    for aside in run.path.glob("attempts/*/checkpoints/.step-*.deleted"):
        folder = aside.with_name(aside.name.removeprefix(".").removesuffix(".deleted"))
        try:
            if not _restored(aside, folder):
                _removed(aside)
        except OSError as error:
            _log.warning("%s cannot be deleted now: %s", aside, error)


def _restored(aside: Path, folder: Path) -> bool:
    if not is_pinned(aside) or folder.exists():
        return False
    # Somebody else may have done it.
    with suppress(FileNotFoundError):
        aside.rename(folder)
        sync_folder(folder.parent)
    return True


def _removed(aside: Path) -> bool:
    # Others may be removing it too.
    while aside.exists():
        with suppress(FileNotFoundError):
            shutil.rmtree(aside)
    return True
