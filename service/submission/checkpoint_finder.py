"""The checkpoints that a request names: a folder, or job:ID, or job:ID@STEP."""

from collections.abc import Sequence
from pathlib import Path

from service.access.caller import EVERYONE, Caller, Ownership, may_name
from service.jobs.records import JobRecord
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.store.ownership import seen_job
from service.store.store import Store
from trainer.contract.checkpoint import MANIFEST_NAME, WEIGHTS_NAME
from trainer.contract.checkpoint_folder import (
    Checkpoint,
    CheckpointError,
    list_folders,
    read_manifest,
)
from trainer.contract.checkpoint_reference import BadReferenceError, JobReference, job_reference
from trainer.contract.confinement import ConfinementError, confined
from trainer.contract.lineage import step_of
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import TERMINAL

_PUBLIC = Ownership(owner=None)


class NoSuchCheckpointError(ValueError):
    """A location names no checkpoint that may be read; the message says why and what to do."""


class CheckpointFinder:
    """Finds checkpoints by their folders and by the jobs that wrote them."""

    def __init__(
        self,
        store: Store,
        run_root: Path,
        data_roots: Sequence[Path],
        *,
        seen_by: Caller = EVERYONE,
        for_job: Ownership = _PUBLIC,
    ) -> None:
        """Find those of jobs that `seen_by` is told of, by whatever name they are asked for.

        `for_job`: whose the job is that is to name them. Whoever sees it reads what it holds.
        """
        self._store = store
        self._caller = seen_by
        self._for_job = for_job
        self._run_root = run_root
        self._roots = (run_root, *data_roots)

    def find(self, location: str) -> Checkpoint:
        """Return the checkpoint as it is now. Its bytes are compared when an attempt loads it.

        Raises NoSuchCheckpointError.
        """
        try:
            reference = job_reference(location)
            if reference is None:
                return self._in_folder(location)
            return self._of_job(reference)
        except (BadReferenceError, ConfinementError, JobNotFoundError, UnreadableJobError) as error:
            raise NoSuchCheckpointError(str(error)) from error
        except CheckpointError as error:
            raise NoSuchCheckpointError(
                f"{error}; name the folder of a checkpoint, or job:ID for a job's latest"
            ) from error
        except OSError as error:
            raise NoSuchCheckpointError(f"{location!r} cannot be read: {error}") from error

    def _in_folder(self, location: str) -> Checkpoint:
        file = self._confined(location)
        # What is no folder, or is not there, is no checkpoint, and says so when it is read.
        folder = file.parent if file.name == MANIFEST_NAME else file
        # Beside a manifest that may be read a link may lie.
        weights = self._confined(str(folder / WEIGHTS_NAME))
        for true in (folder, weights):
            self._check_path(true, location)
        return Checkpoint(folder, read_manifest(folder))

    def _check_path(self, path: Path, location: str) -> None:
        """Refuse a true path in the run directory of a job that is hidden, or may not be named.

        A job's inputs are its own, whichever wrote them.
        """
        root = self._run_root.resolve()
        if not path.is_relative_to(root):
            return
        job_id, *_ = (*path.relative_to(root).parts, "")
        try:
            owned = self._store.read(lambda connection: seen_job(connection, self._caller, job_id))
        except JobNotFoundError:
            # What is left of no job is nobody's, and for admins.
            if self._caller.is_admin:
                return
            raise ConfinementError(
                f"{location!r} lies in no run directory of a job that you may see"
            ) from None
        self._check_naming(job_id, owned)

    def _check_naming(self, job_id: str, source: Ownership) -> None:
        """Refuse a source that somebody who sees the job does not see."""
        if may_name(self._for_job, source):
            return
        mend = (
            "set private: true"
            if source.owner == self._for_job.owner
            else "name another checkpoint, or have its owner submit this one, with private: true"
        )
        raise NoSuchCheckpointError(
            f"job {job_id} is private, and others who see this job could read its weights; {mend}"
        )

    def _confined(self, location: str) -> Path:
        mend = "copy the checkpoint there, or name it as job:ID or job:ID@STEP"
        return confined(location, self._roots, MANIFEST_NAME, mend=mend)

    def _of_job(self, reference: JobReference) -> Checkpoint:
        job = self._store.job(reference.job_id)
        if not self._caller.may_see(job.ownership):
            raise JobNotFoundError(reference.job_id)
        self._check_naming(job.id, job.ownership)
        run = RunDirectory(self._run_root.resolve() / job.id)
        kept = list_folders(run, self._store.attempt_numbers(job.id))
        if not kept:
            raise NoSuchCheckpointError(_why_none(job))
        if reference.step is None:
            return Checkpoint(kept[0], read_manifest(kept[0]))
        for folder in kept:
            if step_of(str(folder)) == reference.step:
                return Checkpoint(folder, read_manifest(folder))
        steps = ", ".join(str(step_of(str(folder))) for folder in reversed(kept))
        raise NoSuchCheckpointError(
            f"job {job.id} keeps no checkpoint after step {reference.step}, but after {steps}"
        )


def _why_none(job: JobRecord) -> str:
    if job.spec.kind != "train":
        return (
            f"job {job.id} is of kind {job.spec.kind} and has no checkpoints; name one that trains"
        )
    if job.status in TERMINAL:
        return f"job {job.id} is {job.status} and has no checkpoint; name another"
    return f"job {job.id} has no checkpoint yet, it is {job.status}; submit this when it has"
