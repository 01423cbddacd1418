"""Deleting jobs: the run directory and the rows, and what was left of it half done.

The run directory is renamed first, which is the decision; the rows follow, then the files. What is
found under such a name is finished by whoever leads (`finisher`).
"""

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.access.caller import EVERYONE, Caller
from service.jobs.lifecycle import RefusedError
from service.reconciling.troubles import Troubles
from service.steady_clock import now_utc
from service.store.deletion import check_deletable, delete_job, delete_some_history
from service.store.errors import JobNotFoundError
from service.store.leases import LostLeadershipError
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


class Deletions:
    """The deletions of one process: those that are asked for, and those that were begun before."""

    def __init__(self, store: Store, run_root: Path) -> None:
        self._store = store
        self._run_root = run_root
        self._troubles = Troubles()
        self._in_work: set[str] = set()
        """Jobs that a thread is deleting."""
        self._changed = threading.Condition()

    def delete(self, job_id: str, by: Caller) -> None:
        """Delete a job that has ended, and its run directory.

        Raises JobNotFoundError, RefusedError, NotDeletedError, LostLeadershipError. Files that
        cannot be removed once the job is gone are left for later.
        """
        self._store.write(lambda connection: check_deletable(connection, job_id))
        with self._alone(job_id, waits=True):
            # This process may have slept since.
            self._store.check_fence()
            try:
                is_renamed = _set_aside(self._run_root, job_id)
            except OSError as error:
                raise NotDeletedError(self._run_root / job_id, error) from error
            try:
                is_more = self._delete_some_history(job_id)
            except (RefusedError, LostLeadershipError) as error:
                # Nothing of the job is gone yet.
                if is_renamed:
                    self._put_back(job_id, error)
                raise
            # Whatever ends it from here on, whoever leads finishes it.
            self._delete_rest(job_id, by, is_more=is_more)
            self._remove(job_id)

    def finish(self, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Finish every deletion that was begun, rows, then files, but for those at work here.

        Whatever hinders one hinders no other, and is tried again the next time. Raises
        LostLeadershipError.
        """
        try:
            begun = sorted(self._run_root.glob(f"{_MARK}*"))
        except OSError as error:
            self._tell("", f"{self._run_root} cannot be read: {error}")
            return
        self._tell("", None)
        for aside in begun:
            if is_stopping():
                return
            job_id = aside.name.removeprefix(_MARK)
            with self._alone(job_id, waits=False) as is_alone:
                # Whoever was at it may be done.
                if not is_alone or not os.path.lexists(aside):
                    continue
                try:
                    self._finish(job_id)
                except LostLeadershipError:
                    raise
                except Exception as error:
                    if self._troubles.is_news(job_id, repr(error)):
                        logger.exception("the deletion of job %s is finished later", job_id)

    def _finish(self, job_id: str) -> None:
        try:
            is_more = self._delete_some_history(job_id)
            self._delete_rest(job_id, EVERYONE, is_more=is_more)
        except JobNotFoundError:
            # The rows went before.
            logger.debug("job %s has no rows any more", job_id)
        except RefusedError as error:
            # Somebody else's doing, or a crash before it was put back.
            self._put_back(job_id, error)
            return
        if self._remove(job_id):
            logger.info("the deletion of job %s is finished", job_id)

    @contextmanager
    def _alone(self, job_id: str, *, waits: bool) -> Iterator[bool]:
        """Keep other threads from deleting the job; False: one is at it, and is not waited for."""
        with self._changed:
            if waits:
                self._changed.wait_for(lambda: job_id not in self._in_work)
            is_alone = job_id not in self._in_work
            self._in_work.add(job_id)
        try:
            yield is_alone
        finally:
            if is_alone:
                with self._changed:
                    self._in_work.remove(job_id)
                    self._changed.notify_all()

    def _delete_some_history(self, job_id: str) -> bool:
        """Delete as much as one short transaction may; say whether more may be left."""
        return self._store.write(lambda connection: delete_some_history(connection, job_id))

    def _delete_rest(self, job_id: str, by: Caller, *, is_more: bool) -> None:
        """Delete the rest of the history in the same way, and then what else is stored."""
        while is_more:
            is_more = self._delete_some_history(job_id)
        self._store.write(lambda connection: delete_job(connection, job_id, by, now_utc()))

    def _remove(self, job_id: str) -> bool:
        """Remove the files of a job whose rows are gone; False: they cannot be yet."""
        aside = _aside(self._run_root, job_id)
        try:
            if not os.path.lexists(aside):
                # One that led before and was frozen may have put it back meanwhile.
                _set_aside(self._run_root, job_id)
            _remove(aside)
        except OSError as error:
            self._tell(job_id, f"{aside} cannot be removed yet: {error}")
            return False
        self._tell(job_id, None)
        return True

    def _put_back(self, job_id: str, why: Exception) -> None:
        """Give the run directory of a job that stays its name again."""
        try:
            _put_back(self._run_root, job_id)
        except OSError as error:
            aside = _aside(self._run_root, job_id)
            self._tell(job_id, f"{aside} is not deleted ({why}), and is left as it is: {error}")
        else:
            self._tell(job_id, None)
            logger.warning("the run directory of job %s has its name again: %s", job_id, why)

    def _tell(self, of: str, trouble: str | None) -> None:
        """Log a trouble that is new; None: it is over."""
        if self._troubles.is_news(of, trouble) and trouble is not None:
            logger.warning("%s", trouble)


def _aside(run_root: Path, job_id: str) -> Path:
    return run_root / f"{_MARK}{job_id}"


def _set_aside(run_root: Path, job_id: str) -> bool:
    """Rename the run directory, or a link in its place, and not what it leads to.

    False: there is none. Raises OSError.
    """
    folder = run_root / job_id
    # What else could lie outside of the run root, or be all of it.
    assert folder.parent == run_root
    assert job_id not in {"", ".", ".."}
    try:
        folder.rename(_aside(run_root, job_id))
    except FileNotFoundError:
        # It never began, or was set aside before. A run root that is away is another matter.
        run_root.stat()
        return False
    sync_folder(run_root)
    return True


def _put_back(run_root: Path, job_id: str) -> None:
    """Undo `_set_aside`, never in place of another folder. Raises OSError."""
    folder, aside = run_root / job_id, _aside(run_root, job_id)
    if not os.path.lexists(aside):
        return
    if os.path.lexists(folder):
        raise FileExistsError(f"there is a {folder} again")
    aside.rename(folder)
    sync_folder(run_root)


def _remove(aside: Path) -> None:
    if aside.is_symlink() or not aside.is_dir():
        aside.unlink(missing_ok=True)
        return
    # Follows no links, not even such as are laid while it runs.
    assert shutil.rmtree.avoids_symlink_attacks
    shutil.rmtree(aside)
