"""Looks into packed sets, by `python -m data_shards`: a process, which may decode images.

The control plane may not: what is here knows that program's options, and reads what it leaves.
"""

import hashlib
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from pydantic import ValidationError

from data_shards.manifest import Manifest
from service.ui.data_batch import DrawnBatch
from service.ui.data_facts import Inspected

logger = logging.getLogger(__name__)

# Assumed: a set in an object store that is slow is looked at in a tenth of it.
TIMEOUT_S = 60.0
# Address space, of which numpy maps far more than it uses; assumed, for ImageNet's index and more.
_MAX_BYTES = 4 << 30
# Of one file that it writes: assumed, five times the index of ImageNet.
_MAX_FILE_BYTES = 256 << 20
_MAX_KEPT = 200
# So long one that failed is not tried again, whoever asks for it.
_FAILED_S = 300.0
# Far more than a look takes: whoever began such a folder was killed.
_ABANDONED_S = 3600.0
_NEW = ".new-"
_COLUMNS, _ROWS = 10, 4
_KEY = re.compile(r"[0-9a-f]{64}")
_TOLD, _SHEET = "inspected.json", "sheet.png"
_BATCH_TOLD, _BATCH, _NO_BATCH = "batch.json", "batch.png", "no-batch.txt"
_NEEDED = ("numpy", "PIL", "simplejpeg", "webdataset", "typer", "rich")
_LAST_WORDS = 600
# By what each kind of object store is read, and is told to no process that reads another.
_OF_STORES = {
    "s3": ("AWS_", "FSSPEC_S3"),
    "gs": ("GOOGLE_", "GCLOUD_", "FSSPEC_GS", "FSSPEC_GCS"),
    "az": ("AZURE_", "FSSPEC_AZ", "FSSPEC_ABFS"),
}
# The service's own, and PostgreSQL's, of the store.
_OF_SERVICE = ("ALEXNET_", "PG")


class LookError(RuntimeError):
    """A set cannot be looked into; the message says why and what to do."""


def is_installed() -> bool:
    """Whether this machine has what reads and draws images: the slim image has not."""
    return all(find_spec(name) is not None for name in _NEEDED)


def key_of(manifest: Manifest, location: str) -> str:
    """Return what a look is kept by: of two copies of a set one may be damaged."""
    return hashlib.sha256(f"{manifest.content_sha256()} {location}".encode()).hexdigest()


class Looks:
    """Looks of this process, kept in a folder; one is taken at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        program: Sequence[str] = (sys.executable, "-m", "data_shards"),
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._program = program
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = Lock()
        # Under the lock: until when each is not tried again, and why; no words: it told, undrawn.
        self._failed: dict[str, tuple[float, str]] = {}

    def found(self, key: str) -> Inspected | None:
        """Return what an earlier look told; None: there was none."""
        try:
            return Inspected.model_validate_json((self._folder / key / _TOLD).read_bytes())
        except (OSError, ValidationError):
            return None

    def sheet(self, key: str) -> Path | None:
        """Return the picture of an earlier look; None: there is none."""
        return self._picture(key, _SHEET)

    def batch(self, key: str) -> Path | None:
        """Return the picture of a batch of an earlier look; None: there is none."""
        return self._picture(key, _BATCH)

    def drawn_batch(self, key: str) -> DrawnBatch | None:
        """Return what that picture shows; None: there is none."""
        try:
            return DrawnBatch.model_validate_json((self._folder / key / _BATCH_TOLD).read_bytes())
        except (OSError, ValidationError):
            return None

    def why_no_batch(self, key: str) -> str:
        """Say why an earlier look drew none; nothing where it did, or was not to."""
        try:
            return (self._folder / key / _NO_BATCH).read_text()
        except OSError:
            return ""

    def _picture(self, key: str, name: str) -> Path | None:
        path = self._folder / key / name
        return path if _KEY.fullmatch(key) and path.is_file() else None

    def take(self, key: str, location: str, *, draws_batch: bool = True) -> None:
        """Look into a set, by its true path or URL; blocks. Raises LookError.

        `draws_batch`: a batch of it too, as it is trained on.
        """
        if not self._lock.acquire(blocking=False):
            raise LookError("another set is being looked into; try again in a minute")
        try:
            if not self._is_whole(key, draws_batch=draws_batch):
                self._try(key, location, draws_batch=draws_batch)
        finally:
            self._lock.release()

    def _is_whole(self, key: str, *, draws_batch: bool) -> bool:
        drawn: tuple[object, ...] = self.found(key), self.sheet(key)
        if draws_batch:
            drawn += self.batch(key), self.drawn_batch(key)
        return None not in drawn

    def _try(self, key: str, location: str, *, draws_batch: bool) -> None:
        """Take one, unless it has failed just now."""
        now = self._clock()
        self._failed = {one: told for one, told in self._failed.items() if told[0] > now}
        if key in self._failed:
            until, words = self._failed[key]
            if words:
                raise LookError(f"{words} (try again in {max(round(until - now), 1)} s)")
            return
        words = ""
        try:
            self._take(key, location, draws_batch=draws_batch)
            self._forget()
        except LookError as error:
            words = str(error)
            raise
        except OSError as error:
            words = f"what was seen cannot be kept: {error.strerror or error}"
            raise LookError(words) from error
        finally:
            if words or not self._is_whole(key, draws_batch=draws_batch):
                self._failed[key] = (self._clock() + _FAILED_S, words)

    def _take(self, key: str, location: str, *, draws_batch: bool) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=_NEW) as name:
            new = Path(name) / key
            new.mkdir()
            size = ["--columns", str(_COLUMNS), "--rows", str(_ROWS)]
            options = ["--json", "--contact-sheet", str(new / _SHEET), *size]
            words = self._run(["inspect", *options, "--", location], new / _TOLD, location)
            try:
                Inspected.model_validate_json((new / _TOLD).read_bytes())
            except ValidationError:
                raise LookError(words or "python -m data_shards told nothing") from None
            if draws_batch:
                self._draw_batch(new, location)
            shutil.rmtree(self._folder / key, ignore_errors=True)
            new.rename(self._folder / key)

    def _draw_batch(self, new: Path, location: str) -> None:
        """Draw one, or write down why not: without it the rest is worth showing."""
        batch = ["batch", "--json", "--", location, str(new / _BATCH)]
        try:
            words = self._run(batch, new / _BATCH_TOLD, location)
        except LookError as error:
            words = str(error)
        if not (new / _BATCH).is_file():
            (new / _NO_BATCH).write_text(words or "python -m data_shards batch told nothing")

    def _run(self, arguments: Sequence[str], told: Path, location: str) -> str:
        """Run the program; return what it complained of."""
        with told.open("wb") as output, tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                [*self._program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=complaints,
                env=_environment(os.environ, location),
            )
            try:
                _bound(process.pid, self._timeout_s)
                process.wait(self._timeout_s)
            except subprocess.TimeoutExpired:
                message = f"it took longer than {self._timeout_s:g} s, and was ended"
                raise LookError(message) from None
            finally:
                process.kill()
                process.wait()
            complaints.seek(0)
            words = complaints.read().decode(errors="replace").strip()
        if process.returncode:
            logger.warning("a look into %s ended with %s: %s", location, process.returncode, words)
        return words[-_LAST_WORDS:].removeprefix("Error: ")

    def _forget(self) -> None:
        """Delete the oldest looks of too many, and what processes left that were killed."""
        for path in self._folder.glob(f"{_NEW}*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
        kept = [path for path in self._folder.iterdir() if _KEY.fullmatch(path.name)]
        kept.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[_MAX_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def _environment(own: Mapping[str, str], location: str) -> dict[str, str]:
    """Return what a process may know that decodes what others made: no secret it does not need."""
    scheme, separator, _ = location.partition("://")
    mine = scheme if separator else ""
    stores = [of for store, of in _OF_STORES.items() if store != mine]
    secret = tuple(prefix for of in (_OF_SERVICE, *stores) for prefix in of)
    told = {name: own[name] for name in own if not name.startswith(secret)}
    # Of its threads each would map memory of its own.
    return {**told, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _bound(pid: int, seconds: float) -> None:
    """Let a process have so much memory and time, beside all else, though this one ends before."""
    os.setpriority(os.PRIO_PROCESS, pid, 10)
    # Linux alone lets another process be bounded.
    if hasattr(resource, "prlimit"):
        _lower(pid, resource.RLIMIT_AS, _MAX_BYTES)
        _lower(pid, resource.RLIMIT_CPU, int(seconds) + 1)
        _lower(pid, resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)


def _lower(pid: int, limit: int, value: int) -> None:
    _, hard = resource.prlimit(pid, limit)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.prlimit(pid, limit, (bound, bound))
