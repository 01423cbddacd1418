"""Looks into packed sets, and batches of them, by `python -m data_shards`, kept in a folder."""

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock

from pydantic import ValidationError

from data_shards.manifest import Manifest
from service.ui.data_batch import DrawnBatch
from service.ui.data_facts import Inspected
from service.ui.data_program import PROGRAM, TIMEOUT_S, LookError, run

# Of looks, and of batches: these, of which each step has another, drive out none of the others.
_MAX_KEPT = 200
# So long one that failed is not tried again, whoever asks for it.
_FAILED_S = 300.0
# Far more than a look takes: whoever began such a folder was killed.
_ABANDONED_S = 3600.0
_NEW = ".new-"
_COLUMNS, _ROWS = 10, 4
_KEY = re.compile(r"[0-9a-f]{64}")
_TOLD, _SHEET = "inspected.json", "sheet.png"
_BATCH_TOLD, _BATCH = "batch.json", "batch.png"


def key_of(manifest: Manifest, location: str) -> str:
    """Return what a look is kept by: of two copies of a set one may be damaged."""
    return hashlib.sha256(f"{manifest.content_sha256()} {location}".encode()).hexdigest()


def batch_key(set_key: str, whose: str, options: Sequence[str]) -> str:
    """Return what a batch is kept by.

    Whose it is too: that of a job that others are not told of is found by no guess of its options.
    """
    return hashlib.sha256(json.dumps([set_key, whose, *options]).encode()).hexdigest()


class Looks:
    """Looks of this process, kept in a folder; one is taken at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        program: Sequence[str] = PROGRAM,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._run = partial(run, program=program, timeout_s=timeout_s)
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
        """Return the picture of a batch that was drawn; None: there is none."""
        return self._picture(key, _BATCH)

    def drawn_batch(self, key: str) -> DrawnBatch | None:
        """Return what that picture shows; None: there is none."""
        try:
            return DrawnBatch.model_validate_json((self._folder / key / _BATCH_TOLD).read_bytes())
        except (OSError, ValidationError):
            return None

    def _picture(self, key: str, name: str) -> Path | None:
        path = self._folder / key / name
        return path if _KEY.fullmatch(key) and path.is_file() else None

    def take(self, key: str, location: str) -> None:
        """Look into a set, by its true path or URL; blocks. Raises LookError."""
        self._once(
            key,
            partial(self._inspect, location),
            lambda: None not in (self.found(key), self.sheet(key)),
        )

    def draw(self, key: str, location: str, options: Sequence[str]) -> None:
        """Draw a batch of a set as `python -m data_shards batch` has it; blocks. Raises LookError.

        `key`: as `batch_key` gives it.
        """
        self._once(
            key,
            partial(self._draw, location, options),
            lambda: None not in (self.batch(key), self.drawn_batch(key)),
        )

    def _once(self, key: str, make: Callable[[Path], None], is_whole: Callable[[], bool]) -> None:
        if not self._lock.acquire(blocking=False):
            raise LookError("another set is being looked into; try again in a minute")
        try:
            if not is_whole():
                self._try(key, make, is_whole)
        finally:
            self._lock.release()

    def _try(self, key: str, make: Callable[[Path], None], is_whole: Callable[[], bool]) -> None:
        """Make one, unless it has failed just now."""
        now = self._clock()
        self._failed = {one: told for one, told in self._failed.items() if told[0] > now}
        if key in self._failed:
            until, words = self._failed[key]
            if words:
                raise LookError(f"{words} (try again in {max(round(until - now), 1)} s)")
            return
        words = ""
        try:
            self._keep(key, make)
            self._forget()
        except LookError as error:
            words = str(error)
            raise
        except OSError as error:
            words = f"what was seen cannot be kept: {error.strerror or error}"
            raise LookError(words) from error
        finally:
            if words or not is_whole():
                self._failed[key] = (self._clock() + _FAILED_S, words)

    def _keep(self, key: str, make: Callable[[Path], None]) -> None:
        """Make one aside, and put it into its place."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=_NEW) as name:
            new = Path(name) / key
            new.mkdir()
            make(new)
            shutil.rmtree(self._folder / key, ignore_errors=True)
            new.rename(self._folder / key)

    def _inspect(self, location: str, new: Path) -> None:
        size = ["--columns", str(_COLUMNS), "--rows", str(_ROWS)]
        options = ["--json", "--contact-sheet", str(new / _SHEET), *size]
        words = self._run(["inspect", *options, "--", location], new / _TOLD, location)
        try:
            Inspected.model_validate_json((new / _TOLD).read_bytes())
        except ValidationError:
            raise LookError(words or "python -m data_shards told nothing") from None

    def _draw(self, location: str, options: Sequence[str], new: Path) -> None:
        asked = ["batch", "--json", *options, "--", location, str(new / _BATCH)]
        words = self._run(asked, new / _BATCH_TOLD, location)
        if not (new / _BATCH).is_file():
            raise LookError(words or "python -m data_shards batch drew nothing")

    def _forget(self) -> None:
        """Delete the oldest of too many of a kind, and what processes left that were killed."""
        for path in self._folder.glob(f"{_NEW}*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
        kept = [path for path in self._folder.iterdir() if _KEY.fullmatch(path.name)]
        kept.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        batches = {path for path in kept if (path / _BATCH_TOLD).exists()}
        for is_batch in (False, True):
            for path in [one for one in kept if (one in batches) is is_batch][_MAX_KEPT:]:
                shutil.rmtree(path, ignore_errors=True)
