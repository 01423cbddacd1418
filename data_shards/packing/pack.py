"""Packing a source into shards: parallel, deterministic, and whole or not at all."""

import fcntl
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data_shards.arrays import Int64s
from data_shards.durable import sync_file, sync_folder
from data_shards.errors import PackError, UnwritableError
from data_shards.manifest import (
    MANIFEST_NAME,
    MAX_SKIPPED_IMAGES,
    Manifest,
    ManifestError,
    Packing,
    ShardEntry,
    load_manifest,
)
from data_shards.order import packing_order
from data_shards.packing.shard_packer import (
    ImagesDone,
    PackedShard,
    PackerSetup,
    ShardDone,
    ShardTask,
)
from data_shards.packing.statistics import PixelSums
from data_shards.processes.worker_pool import WorkerPool
from data_shards.shards.index import OFFSET, SHARD
from data_shards.shards.sidecars import INDEX_NAME, MEAN_IMAGE_NAME, save_sidecar
from data_shards.sources.source import Source

# Where shards grow, inside the target so that a rename moves them.
_WORK_NAME = ".packing"


@dataclass(frozen=True, kw_only=True)
class PackRequest:
    """What is packed, and how.

    Together with the source's images, their paths and their bytes, it decides the bytes of every
    file of the result, manifest.json included: not when or where the source was written.
    """

    source: Source
    split: str
    size: int
    encoding: Literal["jpeg", "raw"]
    quality: int
    samples_per_shard: int
    limit: int | None
    seed: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", self.split):
            raise PackError(
                f"{self.split!r} is no name for a split; use up to 40 of a-z, 0-9, - and _"
            )

    @property
    def num_samples(self) -> int:
        """Images to be tried."""
        return min(len(self.source.samples), self.limit or len(self.source.samples))

    @property
    def num_shards(self) -> int:
        """Shards they fill, if no image is skipped."""
        return -(-self.num_samples // self.samples_per_shard)

    def packing(self, shards: Sequence[PackedShard] = ()) -> Packing:
        """Return the manifest's record of this request and what was skipped in it."""
        skipped = sum((shard.skipped for shard in shards), Counter[str]())
        images = [image for shard in shards for image in shard.skipped_images]
        return Packing(
            source=self.source.kind,
            source_sha256=self.source.sha256,
            seed=self.seed,
            samples_per_shard=self.samples_per_shard,
            quality=self.quality if self.encoding == "jpeg" else None,
            limit=self.limit,
            skipped=dict(sorted(skipped.items())),
            skipped_images=tuple(images[:MAX_SKIPPED_IMAGES]),
        )


def pack(
    request: PackRequest,
    out: Path,
    *,
    num_processes: int,
    force: bool,
    on_images: Callable[[int], None],
) -> tuple[Manifest, bool]:
    """Pack into the folder `out`; return the manifest, and whether it was there already.

    `on_images` hears of each few images done. Files appear under their final names only when all
    are complete, the manifest last; nothing is left of an interrupted run that can be caught.
    Raises PackError if `out` holds something else (unless `force`) or cannot be written, or no
    image could be read; SourceError if an image could not be read for want of disk or memory.
    """
    try:
        return _pack(request, out, num_processes, force, on_images)
    except OSError as error:
        path, reason = str(error.filename or out), error.strerror or str(error)
        raise UnwritableError(path, reason) from error


def _pack(
    request: PackRequest,
    out: Path,
    num_processes: int,
    force: bool,
    on_images: Callable[[int], None],
) -> tuple[Manifest, bool]:
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        present = None if force else _present(request, out)
        if present is not None:
            return present, True
        work = out / _WORK_NAME
        # A run that was killed outright leaves its work behind.
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            shards, sums = _make_shards(request, work, num_processes, on_images)
            manifest = _describe(request, work, shards, sums)
            (work / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
            sync_file(work / MANIFEST_NAME)
            _publish(manifest, work, out)
        finally:
            shutil.rmtree(work)
    return manifest, False


def _make_shards(
    request: PackRequest, work: Path, num_processes: int, on_images: Callable[[int], None]
) -> tuple[list[PackedShard], PixelSums]:
    shards: list[PackedShard] = []
    # One total: the sums of a shard take as much memory as eight images of their size.
    sums = PixelSums.zero(request.size)
    setup = PackerSetup(
        reader=request.source.reader,
        folder=work,
        size=request.size,
        encoding=request.encoding,
        quality=request.quality,
    )
    with WorkerPool(setup.open, num_processes=min(num_processes, request.num_shards)) as pool:
        for answer in pool.share(_tasks(request), last=ShardDone):
            if isinstance(answer, ImagesDone):
                on_images(answer.count)
            else:
                shards.append(answer.shard)
                sums.add(answer.sums)
    # Names are in the order of packing, whoever came first.
    return sorted(shards, key=lambda shard: shard.name), sums


def _tasks(request: PackRequest) -> Iterator[ShardTask]:
    source = request.source.samples
    order = packing_order(len(source), seed=request.seed)[: request.num_samples]
    for number, first in enumerate(range(0, len(order), request.samples_per_shard)):
        chosen = order[first : first + request.samples_per_shard].tolist()
        yield ShardTask(
            name=f"{request.split}-{number:06d}.tar",
            first_key=first,
            samples=[source[place] for place in chosen],
        )


def _describe(
    request: PackRequest, work: Path, shards: list[PackedShard], sums: PixelSums
) -> Manifest:
    if sums.num_images == 0:
        raise PackError(f"none of the {request.num_samples} images could be read")
    # A shard all of whose images were skipped is no shard.
    full = [shard for shard in shards if len(shard.rows)]
    index = _index(full)
    return Manifest(
        split=request.split,
        encoding=request.encoding,
        image_size=request.size,
        num_samples=len(index),
        classes=request.source.classes,
        shards=tuple(
            ShardEntry(
                name=shard.name,
                num_samples=len(shard.rows),
                size_bytes=shard.size_bytes,
                sha256=shard.sha256,
            )
            for shard in full
        ),
        index=save_sidecar(work, INDEX_NAME, index),
        mean_image=save_sidecar(work, MEAN_IMAGE_NAME, sums.mean_image()),
        rgb_pca=sums.rgb_pca(),
        packing=request.packing(shards),
    )


def _index(shards: list[PackedShard]) -> Int64s:
    """Return the index, int64 (num_samples, 4): shard, offset, size, label."""
    numbers = np.repeat(np.arange(len(shards)), [len(shard.rows) for shard in shards])
    rows = np.concatenate([shard.rows for shard in shards])
    index = np.empty((len(numbers), 4), dtype=np.int64)
    index[:, SHARD], index[:, OFFSET:] = numbers, rows
    return index


def _publish(manifest: Manifest, work: Path, out: Path) -> None:
    """Move everything to its final name; without its manifest, a set does not exist."""
    _remove_replaced(out, manifest.split)
    for entry in manifest.files:
        (work / entry.name).replace(out / entry.name)
    # The files first, so that no loss of power leaves a manifest without them.
    sync_folder(out)
    (work / MANIFEST_NAME).replace(out / MANIFEST_NAME)
    sync_folder(out)


def _remove_replaced(out: Path, split: str) -> None:
    """Remove the set that lies there, of whatever split, and what shards of this one do."""
    stale = _shards_in(out, split)
    # A manifest that cannot be read names no files.
    with suppress(ManifestError):
        stale += [out / entry.name for entry in load_manifest(out).files]
    # The manifest goes last: if this is cut short, the next run knows the rest by it.
    for path in [*stale, out / MANIFEST_NAME]:
        path.unlink(missing_ok=True)


def _present(request: PackRequest, out: Path) -> Manifest | None:
    """Return the manifest of a finished set made by the same request; None if there is no set."""
    mend = "choose another folder, or pack with --force to replace it"
    if not (out / MANIFEST_NAME).exists():
        if _shards_in(out, request.split):
            raise PackError(f"{out} holds shards without a manifest; {mend}")
        return None
    try:
        manifest = load_manifest(out)
    except ManifestError as error:
        raise PackError(f"{out} holds a set that cannot be read ({error}); {mend}") from error
    differences = _differences(request, manifest)
    if differences:
        raise PackError(f"{out} holds a set packed otherwise: {', '.join(differences)}; {mend}")
    for entry in manifest.files:
        path = out / entry.name
        if not path.is_file() or path.stat().st_size != entry.size_bytes:
            raise PackError(f"{path} is missing or not whole; {mend}")
    return manifest


def _differences(request: PackRequest, manifest: Manifest) -> list[str]:
    """Return in words what a finished set has otherwise than asked."""
    wanted = request.packing().model_dump()
    wanted |= {"split": request.split, "encoding": request.encoding, "size": request.size}
    wanted |= {"classes": len(request.source.classes), "images": request.num_samples}
    found = manifest.packing.model_dump()
    found |= {"split": manifest.split, "encoding": manifest.encoding, "size": manifest.image_size}
    found |= {
        "classes": len(manifest.classes),
        "images": manifest.num_samples + sum(manifest.packing.skipped.values()),
    }
    # What was skipped is a result; digests are not for people.
    compared = [name for name in wanted if not name.startswith(("skipped", "source_sha256"))]
    differences = [
        f"{name} {found[name]} (asked: {wanted[name]})"
        for name in compared
        if found[name] != wanted[name]
    ]
    if not differences and manifest.classes != request.source.classes:
        differences.append("other classes")
    if not differences and manifest.packing.source_sha256 != request.source.sha256:
        differences.append("other images")
    return differences


def _shards_in(out: Path, split: str) -> list[Path]:
    return sorted(out.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9][0-9].tar"))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder against other packers; the lock goes with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PackError(f"another process is packing into {folder}; wait for it") from None
        yield
    finally:
        os.close(descriptor)
