"""Downloading a checkpoint: goes on where it broke off, and is as it was written or not there."""

import hashlib
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import ValidationError

from service.client.errors import ProblemError, ServiceUnreachableError
from service.client.files import FileClient
from service.client.outage import Outage, will_pass
from service.errors import UserError
from trainer.contract.checkpoint import (
    MANIFEST_NAME,
    VELOCITY_NAME,
    WEIGHTS_NAME,
    CheckpointManifest,
)

_CHUNK_BYTES = 1 << 20
# Done and in all, in bytes.
OnProgress = Callable[[int, int], None]


class DownloadError(UserError):
    """What was downloaded is not what was written, or cannot be kept here."""


def download_checkpoint(
    client: FileClient,
    job_id: str,
    step: int,
    target: Path,
    *,
    on_progress: OnProgress = lambda _done, _size: None,
) -> Path:
    """Download the checkpoint of a step and return where it lies; its sha256s are compared.

    Into a folder that is there, as a folder `step-XXXXXXXX`; else as a tar of that name. What an
    interrupted download leaves beside it is gone on with by the next of the same target. Raises
    DownloadError, ProblemError, or ServiceUnreachableError after a minute without the service.
    """
    folder = target if target.is_dir() else target.parent
    etag, size = _look(client, job_id, step)
    part = folder / f".{job_id}-{step}-{hashlib.sha256(etag.encode()).hexdigest()[:16]}.partial"
    with _keeping(target):
        _fetch(client, job_id, step, part, etag=etag, size=size, on_progress=on_progress)
        try:
            top = _verify(part)
        except DownloadError:
            # Nothing of it is worth going on with.
            part.unlink()
            raise
        if not target.is_dir():
            return part.replace(target)
        return _unpack(part, target / top)


def _look(client: FileClient, job_id: str, step: int) -> tuple[str, int]:
    with client.open_checkpoint(job_id, step, start=0, stop=1) as answer:
        size = int(answer.headers["Content-Range"].rpartition("/")[2])
        return answer.headers["ETag"], size


def _fetch(
    client: FileClient,
    job_id: str,
    step: int,
    part: Path,
    *,
    etag: str,
    size: int,
    on_progress: OnProgress,
) -> None:
    outage = Outage()
    while (done := part.stat().st_size if part.exists() else 0) < size:
        on_progress(done, size)
        try:
            with client.open_checkpoint(job_id, step, start=done, etag=etag) as answer:
                if answer.status_code != 206:
                    raise DownloadError(
                        f"the checkpoint of job {job_id} after step {step} was written anew "
                        "meanwhile; download it again"
                    )
                with part.open("ab") as file:
                    for chunk in answer.iter_bytes(_CHUNK_BYTES):
                        outage.end()
                        file.write(chunk)
                        done += len(chunk)
                        on_progress(done, size)
        except (ServiceUnreachableError, ProblemError) as error:
            if not (will_pass(error) and outage.go_on()):
                raise
    on_progress(size, size)


def _verify(file: Path) -> str:
    """Compare every byte with the manifest's digests; return the folder's name in the tar."""
    digests: dict[str, str] = {}
    manifest: CheckpointManifest | None = None
    tops = set()
    try:
        with tarfile.open(file, "r:") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isreg() else None
                name = PurePosixPath(entry.name)
                if content is None or len(name.parts) != 2 or name.parts[0].startswith("."):
                    raise DownloadError(f"the tar holds {entry.name!r}, which is no checkpoint's")
                tops.add(name.parts[0])
                if name.name == MANIFEST_NAME:
                    manifest = CheckpointManifest.model_validate_json(content.read())
                else:
                    digests[name.name] = _sha256(content)
    except (tarfile.TarError, ValidationError) as error:
        raise DownloadError(f"what was downloaded is no checkpoint: {error}") from error
    if manifest is None or len(tops) != 1 or digests.keys() != {WEIGHTS_NAME, VELOCITY_NAME}:
        raise DownloadError(f"what was downloaded is no checkpoint: it holds {sorted(digests)}")
    for file_name, written in manifest.files.items():
        if digests.get(file_name) != written.sha256:
            raise DownloadError(
                f"{file_name} does not have the sha256 that it was written with; download it again"
            )
    return tops.pop()


def _sha256(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _unpack(file: Path, folder: Path) -> Path:
    """Unpack a tar that was verified, in place of nothing."""
    if folder.exists():
        raise DownloadError(f"{folder} is there already; move it away, then download again")
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    with tarfile.open(file, "r:") as tar:
        for entry in tar:
            content = tar.extractfile(entry)
            assert content is not None
            _copy(content, aside / PurePosixPath(entry.name).name)
    aside.rename(folder)
    file.unlink()
    return folder


def _copy(content: IO[bytes], target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)


@contextmanager
def _keeping(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(f"{target} cannot be written: {error}") from error
