"""Packing a source into shards: parallel, deterministic, gone on with after whatever ended it."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_shards.arrays import Int64s
from data_shards.durable import sync_file
from data_shards.errors import DataError, PackError
from data_shards.manifest import MANIFEST_NAME, Manifest, ShardEntry
from data_shards.packing.beginning import begin, stale_files
from data_shards.packing.begun import Begun
from data_shards.packing.overlap import refuse_overlap
from data_shards.packing.record import RECORD_SUFFIX, PackedShard
from data_shards.packing.request import PackRequest
from data_shards.packing.shard_packer import ImagesDone, PackerSetup, ShardDone
from data_shards.packing.shortage import sharing_the_machine, writing
from data_shards.packing.statistics import PixelSums
from data_shards.packing.target import Target, open_target
from data_shards.processes.memory import peak_memory_bytes
from data_shards.processes.worker_pool import WorkerPool
from data_shards.shards.index import OFFSET, SHARD
from data_shards.shards.sidecars import INDEX_NAME, MEAN_IMAGE_NAME, save_sidecar


@dataclass(frozen=True, kw_only=True)
class PackReport:
    """What a run came to."""

    manifest: Manifest
    already_packed: bool = False
    """Whether the set was there, finished; the rest is of a run that packed."""
    num_tried: int = 0
    """Images that this run packed or skipped."""
    num_taken: int = 0
    """Images of the shards that an earlier run finished."""
    shards_taken: int = 0
    seconds: float = 0.0
    num_packers: int = 0
    peak_memory_bytes: int = 0
    """The most that this process has held."""
    packer_peak_memory_bytes: int = 0
    """The most that one of the packing processes held."""

    @property
    def images_per_second(self) -> float:
        """The speed of this run, without what it found done."""
        return self.num_tried / self.seconds if self.seconds else 0.0


def pack(
    request: PackRequest,
    out: str | Path,
    *,
    num_processes: int,
    force: bool = False,
    scratch: Path | None = None,
    on_images: Callable[[int], None] = lambda count: None,
    on_taken: Callable[[int], None] = lambda count: None,
) -> PackReport:
    """Pack into `out`, a folder or the URL of one in an object store.

    Finished shards outlive whatever ends this; the next run of the same request takes them. With
    `force` they go, as does a finished set. `on_images` hears of each few images done, `on_taken`
    of those of each shard that was taken. Nothing has its final name in a folder until all is
    finished; the manifest comes last. What goes to an object store grows in `scratch`, by default
    a folder of the user's cache.

    Raises PackError if `out` holds something else (unless `force`), holds the source or lies in
    it, or cannot be written, if memory is short, or no image could be read; SourceError if an image
    could not be read for want of disk or memory; StorageError of an object store.
    """
    refuse_overlap(request.source, out)
    with open_target(out, scratch) as target:
        begun = begin(request, target, force=force)
        if isinstance(begun, Manifest):
            return PackReport(manifest=begun, already_packed=True)
        return _pack(
            request,
            target,
            begun,
            num_processes=num_processes,
            on_images=on_images,
            on_taken=on_taken,
        )


def _pack(
    request: PackRequest,
    target: Target,
    begun: Begun,
    *,
    num_processes: int,
    on_images: Callable[[int], None],
    on_taken: Callable[[int], None],
) -> PackReport:
    began = time.monotonic()
    num_packers = min(num_processes, request.num_shards)
    making = _Making(request)
    try:
        with sharing_the_machine():
            making.run(target, num_packers, on_images, on_taken)
            if making.is_empty:
                # Another try would end the same.
                target.clean()
            manifest = _describe(request, target.places.growing, making.shards, making.sums)
        target.publish(manifest, stale_files(target.folder, begun, manifest), begun)
    except BaseException as error:
        # The store may be what went wrong.
        with suppress(OSError, DataError):
            target.sweep()
            if kept := sum(name.endswith(RECORD_SUFFIX) for name in target.work.names()):
                error.add_note(
                    f"{kept} of {request.num_shards} shards are finished and kept for "
                    f"{target.folder.location}: the same command, without --force, goes on with "
                    "them"
                )
        raise
    num_tried = sum(shard.num_tried for shard in making.shards)
    return PackReport(
        manifest=manifest,
        num_tried=num_tried - making.num_taken,
        num_taken=making.num_taken,
        shards_taken=making.shards_taken,
        seconds=time.monotonic() - began,
        num_packers=num_packers,
        peak_memory_bytes=peak_memory_bytes(),
        packer_peak_memory_bytes=making.packer_peak_memory_bytes,
    )


class _Making:
    """The shards of a request as they come."""

    def __init__(self, request: PackRequest) -> None:
        self.request = request
        self.shards: list[PackedShard] = []
        # One total: the sums of a shard take as much memory as eight images of their size.
        self.sums = PixelSums.zero(request.size)
        self.num_taken = 0
        self.shards_taken = 0
        self.packer_peak_memory_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether all is done and every image was skipped."""
        return len(self.shards) == self.request.num_shards and self.sums.num_images == 0

    def run(
        self,
        target: Target,
        num_packers: int,
        on_images: Callable[[int], None],
        on_taken: Callable[[int], None],
    ) -> None:
        """Make all, or take them from an earlier run."""
        request = self.request
        setup = PackerSetup(
            reader=request.source.reader,
            places=target.places,
            request_sha256=request.sha256,
            size=request.size,
            encoding=request.encoding,
            quality=request.quality,
            squared=request.squared,
        )
        with WorkerPool(setup.open, num_processes=num_packers, inherited_fds=[target.lock]) as pool:
            for answer in pool.share(request.tasks(), last=ShardDone):
                if isinstance(answer, ImagesDone):
                    on_images(answer.count)
                else:
                    self._add(answer)
                    if answer.taken:
                        on_taken(answer.shard.num_tried)
        # Names are in the order of packing, whoever came first.
        self.shards.sort(key=lambda shard: shard.name)

    def _add(self, done: ShardDone) -> None:
        self.shards.append(done.shard)
        self.sums.add(done.sums)
        self.packer_peak_memory_bytes = max(self.packer_peak_memory_bytes, done.peak_memory_bytes)
        if done.taken:
            self.shards_taken += 1
            self.num_taken += done.shard.num_tried


def _describe(
    request: PackRequest, folder: Path, shards: Sequence[PackedShard], sums: PixelSums
) -> Manifest:
    """Describe the set; write its sidecars and its manifest into a folder of this machine."""
    if sums.num_images == 0:
        raise PackError(f"none of the {request.num_samples} images could be read")
    # A shard all of whose images were skipped is no shard.
    full = [shard for shard in shards if len(shard.rows)]
    index = _index(full)
    with writing(folder):
        manifest = Manifest(
            split=request.split,
            encoding=request.encoding,
            image_size=request.size,
            squared=request.squared,
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
            index=save_sidecar(folder, INDEX_NAME, index),
            mean_image=save_sidecar(folder, MEAN_IMAGE_NAME, sums.mean_image()),
            rgb_pca=sums.rgb_pca(),
            packing=request.packing(shards),
        )
        path = folder / MANIFEST_NAME
        path.write_text(manifest.to_json(), encoding="utf-8")
        sync_file(path)
    return manifest


def _index(shards: Sequence[PackedShard]) -> Int64s:
    """Return the index, int64 (num_samples, 4): shard, offset, size, label."""
    index = np.empty((sum(len(shard.rows) for shard in shards), 4), dtype=np.int64)
    begin = 0
    for number, shard in enumerate(shards):
        part = index[begin : begin + len(shard.rows)]
        part[:, SHARD], part[:, OFFSET:] = number, shard.rows
        begin += len(part)
    return index
