"""Verifying a packed set: every byte is digested, every tar is listed, every image decoded."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from data_shards.arrays import Int64s
from data_shards.errors import ShardError
from data_shards.inspection.opened_set import OpenedSet
from data_shards.inspection.plausible import mean_image_problem, pca_problem, stray_shards
from data_shards.inspection.shard_check import (
    BytesDone,
    CorruptFound,
    SamplesDone,
    ShardCheck,
    ShardChecked,
    VerifierSetup,
)
from data_shards.manifest import MANIFEST_NAME, Manifest
from data_shards.processes.worker_pool import WorkerPool
from data_shards.shards.index import OFFSET


@dataclass(frozen=True)
class Problem:
    """One thing that is not as the manifest says."""

    file: str
    problem: str


@dataclass(frozen=True)
class Findings:
    """All that is wrong with a set."""

    problems: tuple[Problem, ...]
    """In the manifest's order; then what should not be there."""
    corrupt: tuple[CorruptFound, ...]
    """Images that were found corrupt, by shard and reason; empty unless all were decoded."""


def verify(
    opened: OpenedSet,
    *,
    num_processes: int,
    decode: bool,
    on_bytes: Callable[[int], None],
    on_samples: Callable[[int], None],
) -> Findings:
    """Examine a set; with `decode` every image too.

    `on_bytes` hears of each few bytes digested, `on_samples` of each few images decoded.
    Raises StorageDownError if an object store does not answer.
    """
    manifest = opened.manifest
    problems: list[Problem] = []
    corrupt: list[CorruptFound] = []
    index = _check_sidecars(opened, problems)
    setup = VerifierSetup(opened.folder.location, manifest, decode=decode)
    tasks = _tasks(index, manifest)
    with WorkerPool(setup.open, num_processes=min(num_processes, len(manifest.shards))) as pool:
        for answer in pool.share(tasks, last=ShardChecked):
            match answer:
                case BytesDone(count):
                    on_bytes(count)
                case SamplesDone(count):
                    on_samples(count)
                case ShardChecked(name, found, corrupt_found):
                    problems.extend(Problem(name, each) for each in found)
                    corrupt.extend(corrupt_found)
    problems.extend(
        Problem(name, "looks like a shard of this set, but the manifest does not name it")
        for name in stray_shards(opened.folder.names(), manifest)
    )
    order = _places(manifest)
    return Findings(
        tuple(sorted(problems, key=lambda each: order.get(each.file, len(order)))),
        tuple(sorted(corrupt, key=lambda each: (order[each.shard], each.reason))),
    )


def _check_sidecars(opened: OpenedSet, problems: list[Problem]) -> Int64s | None:
    """Add what is wrong with the files beside the shards; return the index if it is right."""
    manifest = opened.manifest
    if problem := pca_problem(manifest.rgb_pca):
        problems.append(Problem(MANIFEST_NAME, problem))
    try:
        if problem := mean_image_problem(opened.mean_image()):
            problems.append(Problem(manifest.mean_image.name, problem))
    except ShardError as error:
        problems.append(Problem(manifest.mean_image.name, error.problem))
    try:
        return opened.index()
    except ShardError as error:
        problems.append(Problem(manifest.index.name, error.problem))
    return None


def _tasks(index: Int64s | None, manifest: Manifest) -> Iterator[ShardCheck]:
    first = 0
    for entry in manifest.shards:
        rows = None if index is None else index[first : first + entry.num_samples, OFFSET:]
        yield ShardCheck(entry, rows)
        first += entry.num_samples


def _places(manifest: Manifest) -> dict[str, int]:
    names: Sequence[str] = [MANIFEST_NAME, *(entry.name for entry in manifest.files)]
    return {name: place for place, name in enumerate(names)}
