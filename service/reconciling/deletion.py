"""Deleting jobs: the run directory and the rows, and what a crash left half done.

The run directory is renamed first, which is the decision; the rows follow, then the files. What is
found under such a name at the next start is finished.
"""

import logging
import os
import shutil
from pathlib import Path

from service.access.caller import EVERYONE, Caller
from service.jobs.lifecycle import RefusedError
from service.steady_clock import now_utc
from service.store.deletion import check_deletable, delete_job, delete_some_history
from service.store.errors import JobNotFoundError
from service.store.store import Store
from trainer.contract.durable import sync_folder

logger = logging.getLogger(__name__)

_MARK = ".deleted-"


class NotDeletedError(RuntimeError):
    """A run directory cannot be deleted, through no fault of the request."""

    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(
            f"the run directory {folder} cannot be deleted ({error}); bring back its disk, or let "
            "the service write there, and delete the job again"
        )


def delete(store: Store, run_root: Path, job_id: str, by: Caller) -> None:
    """Delete a job that has ended, and its run directory.

    Raises JobNotFoundError, RefusedError, NotDeletedError. Files that cannot be removed once the
    job is gone are left for the next start.
    """
    store.write(lambda connection: check_deletable(connection, job_id))
    try:
        aside = _set_aside(run_root, job_id)
    except OSError as error:
        raise NotDeletedError(run_root / job_id, error) from error
    try:
        _delete_rows(store, job_id, by)
    except RefusedError:
        _put_back(aside, job_id)
        raise
    _remove(aside)


def finish_deletions(store: Store, run_root: Path) -> None:
    """Finish every deletion that was begun: rows, then files."""
    try:
        begun = sorted(run_root.glob(f"{_MARK}*"))
    except OSError as error:
        logger.warning("%s cannot be read: %s", run_root, error)
        return
    for aside in begun:
        job_id = aside.name.removeprefix(_MARK)
        try:
            _delete_rows(store, job_id, EVERYONE)
        except JobNotFoundError:
            # The rows went before the crash.
            logger.debug("job %s has no rows any more", job_id)
        except RefusedError as error:
            # Somebody else's doing, or a crash before it was put back.
            logger.warning("%s is not deleted: %s", aside, error)
            _put_back(aside, job_id)
            continue
        _remove(aside)
        logger.info("the deletion of job %s is finished", job_id)


def _delete_rows(store: Store, job_id: str, by: Caller) -> None:
    """Delete the history in transactions of its own, and what else is stored in one at the end."""
    while store.write(lambda connection: delete_some_history(connection, job_id)):
        pass
    store.write(lambda connection: delete_job(connection, job_id, by, now_utc()))


def _set_aside(run_root: Path, job_id: str) -> Path:
    """Rename the run directory, if there is one; a link in its place, and not what it leads to."""
    folder, aside = run_root / job_id, run_root / f"{_MARK}{job_id}"
    # What else could lie outside of the run root, or be all of it.
    assert folder.parent == run_root
    assert job_id not in {"", ".", ".."}
    try:
        folder.rename(aside)
    except FileNotFoundError:
        # It never began, or was set aside before. A run root that is away is another matter.
        run_root.stat()
    else:
        sync_folder(run_root)
    return aside


def _put_back(aside: Path, job_id: str) -> None:
    """Give the run directory of a job that stays its name again; never in place of another."""
    folder = aside.with_name(job_id)
    if not os.path.lexists(aside):
        return
    if os.path.lexists(folder):
        logger.error("%s is left as it is: there is a %s again", aside, folder)
        return
    try:
        aside.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        logger.warning("%s is put back at the next start: %s", aside, error)


def _remove(aside: Path) -> None:
    try:
        if aside.is_symlink() or not aside.is_dir():
            aside.unlink(missing_ok=True)
        else:
            # Follows no links, not even such as are laid while it runs.
            assert shutil.rmtree.avoids_symlink_attacks
            shutil.rmtree(aside)
    except OSError as error:
        logger.warning("%s cannot be removed yet: %s", aside, error)
