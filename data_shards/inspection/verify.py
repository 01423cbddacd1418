"""Verifying a packed set: every byte is digested, every tar is listed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from data_shards.arrays import Int64s
from data_shards.errors import ShardError
from data_shards.manifest import Manifest, ShardEntry
from data_shards.processes.worker_pool import WorkerPool
from data_shards.shards.index import OFFSET
from data_shards.shards.sidecars import load_index, load_mean_image
from data_shards.shards.tar_index import SUFFIX_OF_ENCODING, TarLayoutError, read_tar_index

_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class Problem:
    """One thing that is not as the manifest says."""

    file: str
    problem: str


@dataclass(frozen=True)
class BytesDone:
    """So many more bytes were digested."""

    count: int


@dataclass(frozen=True)
class ShardChecked:
    """A shard was examined; None: it is right."""

    problem: Problem | None


@dataclass(frozen=True)
class ShardCheck:
    """What one shard must be."""

    entry: ShardEntry
    rows: Int64s | None
    """(num_samples, 3) its part of the index: offset, size, label; None if that is unusable."""


@dataclass(frozen=True)
class VerifierSetup:
    """What a verifying process must know before its first shard."""

    folder: Path
    suffix: str

    def open(self) -> Callable[[ShardCheck], Iterator[BytesDone | ShardChecked]]:
        """Return the handler of a new verifier's tasks."""
        return self.check

    def check(self, task: ShardCheck) -> Iterator[BytesDone | ShardChecked]:
        """Examine one shard."""
        entry = task.entry
        path = self.folder / entry.name
        digest = sha256()
        size = 0
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    yield BytesDone(len(chunk))
        except OSError as error:
            problem: str | None = "is missing" if not path.exists() else str(error)
        else:
            problem = self._problem(task, size, digest.hexdigest())
        yield ShardChecked(Problem(entry.name, problem) if problem else None)

    def _problem(self, task: ShardCheck, size: int, digest: str) -> str | None:
        entry = task.entry
        if size != entry.size_bytes:
            return f"has {size} bytes where the manifest says {entry.size_bytes}"
        if digest != entry.sha256:
            return "does not have the manifest's sha256"
        try:
            samples = read_tar_index(self.folder / entry.name, self.suffix)
        except TarLayoutError as error:
            return f"is no tar of ours: {error}"
        if len(samples) != entry.num_samples:
            return f"holds {len(samples)} samples where the manifest says {entry.num_samples}"
        if task.rows is not None and not np.array_equal(np.array(samples), task.rows):
            return "does not have its samples where the index says"
        return None


def verify(
    folder: Path, manifest: Manifest, *, num_processes: int, on_bytes: Callable[[int], None]
) -> list[Problem]:
    """Examine a set; return all that is wrong with it, in the manifest's order.

    `on_bytes` hears of each few bytes digested.
    """
    problems: list[Problem] = []
    index: Int64s | None = None
    try:
        load_mean_image(folder, manifest)
    except ShardError as error:
        problems.append(Problem(manifest.mean_image.name, error.problem))
    try:
        index = load_index(folder, manifest)
    except ShardError as error:
        problems.append(Problem(manifest.index.name, error.problem))
    setup = VerifierSetup(folder, SUFFIX_OF_ENCODING[manifest.encoding])
    tasks = _tasks(index, manifest)
    with WorkerPool(setup.open, num_processes=min(num_processes, len(manifest.shards))) as pool:
        for answer in pool.share(tasks, last=ShardChecked):
            if isinstance(answer, BytesDone):
                on_bytes(answer.count)
            elif answer.problem is not None:
                problems.append(answer.problem)
    order = {entry.name: place for place, entry in enumerate(manifest.files)}
    return sorted(problems, key=lambda problem: order[problem.file])


def _tasks(index: Int64s | None, manifest: Manifest) -> Iterator[ShardCheck]:
    first = 0
    for entry in manifest.shards:
        rows = None if index is None else index[first : first + entry.num_samples, OFFSET:]
        yield ShardCheck(entry, rows)
        first += entry.num_samples
