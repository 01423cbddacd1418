"""The checkpoints that a job names, held in its own run directory.

While the job waits in the queue, the one that wrote them may train on and delete all but its
latest. What is held are other names of the same files, so it takes no room while they are there.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from service.problems import FieldError, SpecRefusedError
from trainer.contract.checkpoint import MANIFEST_NAME, WEIGHTS_NAME
from trainer.contract.checkpoint_reference import named_checkpoints, with_checkpoints
from trainer.contract.durable import naming_a_full_disk, sync_file, sync_folder
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import MAX_LOCATION_CHARACTERS, JobSpec

# Whoever begins with a checkpoint or evaluates it reads no velocity, which is half of it.
_HELD = (WEIGHTS_NAME, MANIFEST_NAME)
# A file system without links, another one, somebody else's file, or one with too many names.
_CANNOT_LINK = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
)


class NotHeldError(RuntimeError):
    """A checkpoint cannot be held, through no fault of the request."""

    def __init__(self, run: RunDirectory, error: OSError) -> None:
        super().__init__(
            f"the checkpoints of the job cannot be held in {run.path} ({error}); bring back the "
            "disk of the run root, make room on it, or let the service read and write there"
        )


@contextmanager
def holding(spec: JobSpec, run: RunDirectory) -> Iterator[JobSpec]:
    """Hold the checkpoints of an admitted spec for a job that the block stores.

    Gives the spec with the folders in which they are held. Those outside the run root, of which
    `run` is a folder by its true path, are left where they are: no job deletes there. If anything
    fails, in the block too, the run directory is removed, unless a database went away that may have
    stored the job. That, and a process that dies on the way, may leave one whose job nobody knows,
    and which nobody reads.

    Raises SpecRefusedError, which names the fields whose checkpoints are gone, or NotHeldError.
    """
    root = run.path.parent
    named = {field: Path(location) for field, location in named_checkpoints(spec)}
    sources = {field: path for field, path in named.items() if path.is_relative_to(root)}
    if not sources:
        yield spec
        return
    held = {field: run.inputs / source.relative_to(root) for field, source in sources.items()}
    _check_lengths(held)
    try:
        # Without its parents: a run root that is not there is one whose disk is away.
        run.path.mkdir()
    except OSError as error:
        raise NotHeldError(run, error) from error
    try:
        _hold(sources, run)
        yield with_checkpoints(spec, {field: str(folder) for field, folder in held.items()})
    except BaseException as error:
        # Where the database went away the job may be stored though nobody heard so: then these
        # are its inputs.
        if not (isinstance(error, DBAPIError) and error.connection_invalidated):
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _check_lengths(held: Mapping[str, Path]) -> None:
    """Refuse what could be stored and not be read again."""
    errors = [
        FieldError(
            field=field,
            message=f"the path under which the job would hold it, {folder}, is longer than "
            f"{MAX_LOCATION_CHARACTERS:,} characters; move it to a shorter one",
        )
        for field, folder in held.items()
        if len(str(folder)) > MAX_LOCATION_CHARACTERS
    ]
    if errors:
        raise SpecRefusedError(errors)


def _hold(sources: Mapping[str, Path], run: RunDirectory) -> None:
    """Give the run directory its inputs, all of them at once and forced to disk."""
    aside = run.inputs.with_name(f".{run.inputs.name}.partial")
    gone = set()
    try:
        # Each once, though it be named twice.
        for source in dict.fromkeys(sources.values()):
            try:
                _link_folder(source, aside / source.relative_to(run.path.parent))
            except (FileNotFoundError, NotADirectoryError):
                gone.add(source)
        if gone:
            raise SpecRefusedError(
                [
                    FieldError(field=field, message=_gone(source))
                    for field, source in sources.items()
                    if source in gone
                ]
            )
        for folder, _, _ in os.walk(aside):
            sync_folder(Path(folder))
        aside.rename(run.inputs)
        sync_folder(run.path)
        sync_folder(run.path.parent)
    except OSError as error:
        raise NotHeldError(run, error) from error


def _link_folder(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in _HELD:
        _link_or_copy(source / name, target / name)


def _link_or_copy(source: Path, target: Path) -> None:
    # A symbolic link would be linked itself, and lead nowhere once its target is deleted.
    true = source.resolve()
    if not true.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
    try:
        target.hardlink_to(true)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        with naming_a_full_disk(target):
            shutil.copyfile(true, target)
            sync_file(target)


def _gone(source: Path) -> str:
    return (
        f"checkpoint {source} is gone, or part of it (a job that trains on deletes all but its "
        "latest checkpoints and its best); name another, or job:ID for a job's latest"
    )
