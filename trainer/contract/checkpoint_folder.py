"""Reading checkpoint folders: is one complete, is it whole, which is the latest? No torch here."""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from trainer.contract.attempt import Reason
from trainer.contract.checkpoint import (
    MANIFEST_NAME,
    VELOCITY_NAME,
    WEIGHTS_NAME,
    CheckpointManifest,
    digest_of,
)
from trainer.contract.lineage import spans
from trainer.contract.run_directory import RunDirectory

# What a file that is gone, or was never a file, says; any other error tells of the disk alone.
_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
# Assumed: one of ours has about 3 kB, and a line more for each replica on another kind of machine.
_LARGEST_MANIFEST_BYTES = 1 << 24


class CheckpointError(Exception):
    """A checkpoint is damaged, or does not belong to what it is loaded into."""

    # Another attempt passes over what is damaged.
    reason = Reason.CRASHED

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(f"checkpoint {folder}: {problem}")
        self.folder = folder
        self.problem = problem


class OtherSpecError(CheckpointError):
    """A checkpoint is of a job with another spec."""

    reason = Reason.BAD_SPEC


class OtherDataError(CheckpointError):
    """A checkpoint was trained on other data than now lie where the spec says."""

    reason = Reason.BAD_DATA


class OtherKernelError(CheckpointError):
    """A checkpoint was trained with another kernel than computes here, and the spec forbids it."""

    reason = Reason.BAD_SPEC


@dataclass(frozen=True)
class Checkpoint:
    """A folder under its final name, with its manifest."""

    folder: Path
    manifest: CheckpointManifest


@dataclass(frozen=True)
class Latest:
    """What a search for the latest checkpoint found."""

    checkpoint: Checkpoint | None
    """The latest that is whole; None when there is none."""
    damaged: tuple[CheckpointError, ...]
    """Later ones that were refused, each by name."""


def read_manifest(folder: Path) -> CheckpointManifest:
    """Read a checkpoint's manifest.

    Raises CheckpointError if it is missing or not ours, OSError where the disk cannot be used.
    """
    try:
        content = _read(folder / MANIFEST_NAME)
        manifest = CheckpointManifest.model_validate_json(content)
    except _NO_FILE as error:
        raise CheckpointError(folder, _unread(folder)) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        problem = f"{MANIFEST_NAME} is not one of ours: {where}{first['msg']}"
        raise CheckpointError(folder, problem) from error
    if manifest.manifest_sha256 not in {None, digest_of(json.loads(content))}:
        raise CheckpointError(folder, f"{MANIFEST_NAME} does not say what was written into it")
    if manifest.files.keys() != {WEIGHTS_NAME, VELOCITY_NAME}:
        raise CheckpointError(folder, f"holds {sorted(manifest.files)}")
    return manifest


def _read(file: Path) -> bytes:
    """Read a manifest. Raises CheckpointError for what would never end, or not fit into memory."""
    size_bytes = file.stat().st_size
    if not file.is_file() or size_bytes > _LARGEST_MANIFEST_BYTES:
        problem = f"it is no file of at most {_LARGEST_MANIFEST_BYTES:,} bytes"
        raise CheckpointError(file.parent, f"{MANIFEST_NAME} cannot be read: {problem}")
    return file.read_bytes()


def _unread(folder: Path) -> str:
    if folder.is_dir():
        return f"{MANIFEST_NAME} cannot be read: the folder holds none"
    # A folder's name is told when a job keeps it, and read later.
    return (
        f"{MANIFEST_NAME} cannot be read: there is no such folder (a job that trains on deletes "
        "all but its latest checkpoints and its best)"
    )


def verify(
    folder: Path, names: Collection[str] = (WEIGHTS_NAME, VELOCITY_NAME)
) -> CheckpointManifest:
    """Read a checkpoint's manifest and compare the files' sizes and sha256 with it.

    `names`: those that are wanted of it; the others may be damaged, or not there.

    Raises CheckpointError, which names the first file that differs, and OSError where the disk
    cannot be used: that says nothing of the checkpoint.
    """
    manifest = read_manifest(folder)
    for name in names:
        entry = manifest.files[name]
        try:
            size_bytes, sha256 = measure(folder / name)
        except _NO_FILE as error:
            raise CheckpointError(folder, f"{name} cannot be read: {error}") from error
        if size_bytes != entry.size_bytes:
            problem = f"{name} has {size_bytes} bytes where {entry.size_bytes} were written"
            raise CheckpointError(folder, problem)
        if sha256 != entry.sha256:
            raise CheckpointError(folder, f"{name} does not have the sha256 it was written with")
    return manifest


def measure(file: Path) -> tuple[int, str]:
    """Return the size in bytes and the hexadecimal sha256 of a file."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        return content.tell(), digest


def list_folders(run: RunDirectory, attempts: Iterable[int] | None = None) -> list[Path]:
    """Return the checkpoint folders of the lineage, latest step first, unread.

    A folder has its final name only when it was complete. What an attempt committed past the step
    from which a later one went on is not of the lineage.
    """
    found: list[tuple[int, int, Path]] = []
    for span in spans(run, attempts):
        for step, folder in span.attempt.committed().items():
            if span.stop is None or step <= span.stop:
                found.append((step, span.attempt.number, folder))
    return [folder for _, _, folder in sorted(found, reverse=True)]


def latest_checkpoint(run: RunDirectory, attempts: Iterable[int] | None = None) -> Latest:
    """Find the latest checkpoint of the lineage whose every byte is as it was written.

    Raises OSError where the disk cannot be used: passing over what cannot be read for a moment
    would lose its steps for good.
    """
    damaged: list[CheckpointError] = []
    for folder in list_folders(run, attempts):
        try:
            return Latest(Checkpoint(folder, verify(folder)), tuple(damaged))
        except CheckpointError as error:
            damaged.append(error)
    return Latest(None, tuple(damaged))
