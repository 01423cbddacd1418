"""What is to be packed, and how."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Literal

from data_shards.errors import PackError
from data_shards.manifest import MAX_SKIPPED_IMAGES, Manifest, Packing
from data_shards.order import packing_order
from data_shards.packing.record import PackedShard
from data_shards.sources.source import Reference, Source

# To be raised with every change of what the same request packs.
_PACKING_VERSION = 1
# A pixel or a byte of a tar may be another in another release of these.
_DECIDING_PACKAGES = ("pillow", "simplejpeg", "webdataset")


@dataclass(frozen=True)
class ShardTask:
    """Make one shard of these samples."""

    name: str
    first_key: int
    samples: list[tuple[Reference, int]]
    """(reference, label) of each."""


@dataclass(frozen=True, kw_only=True)
class PackRequest:
    """What is packed, and how.

    Together with the source's images, their paths and their bytes, it decides the bytes of every
    file of the result, manifest.json included: not when or where the source was written.
    Raises PackError where it asks for what cannot be.
    """

    source: Source
    split: str
    size: int
    encoding: Literal["jpeg", "raw"]
    quality: int
    samples_per_shard: int
    limit: int | None
    seed: int
    squared: bool = True
    """Whether squares are stored, or the images as they came."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", self.split):
            raise PackError(
                f"{self.split!r} is no name for a split; use up to 40 of a-z, 0-9, - and _"
            )
        if self.encoding == "raw" and not self.squared:
            raise PackError(
                "--encoding raw stores bare pixels, whose shape nothing would tell if they were "
                "not all squares of one size; leave out --no-resize, or choose --encoding jpeg"
            )

    @property
    def num_samples(self) -> int:
        """Images to be tried."""
        return min(len(self.source.samples), self.limit or len(self.source.samples))

    @property
    def num_shards(self) -> int:
        """Shards they fill, if no image is skipped."""
        return -(-self.num_samples // self.samples_per_shard)

    @cached_property
    def sha256(self) -> str:
        """Digest of all that decides what is packed: a later run takes the shards of its like."""
        document = {
            "version": _PACKING_VERSION,
            "packages": [f"{name}=={version(name)}" for name in _DECIDING_PACKAGES],
            "classes": [(each.name, each.synset) for each in self.source.classes],
            "images": self.num_samples,
            **_asked(self),
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def packing(self, shards: Sequence[PackedShard] = ()) -> Packing:
        """Return the manifest's record of this request and what was skipped in it."""
        skipped: dict[str, int] = {}
        for shard in shards:
            for reason, count in shard.skipped.items():
                skipped[reason] = skipped.get(reason, 0) + count
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

    def tasks(self) -> Iterator[ShardTask]:
        """Yield the shards to be made, each with its samples; none is held."""
        samples = self.source.samples
        order = packing_order(len(samples), seed=self.seed)[: self.num_samples]
        for number, first in enumerate(range(0, len(order), self.samples_per_shard)):
            chosen = order[first : first + self.samples_per_shard].tolist()
            yield ShardTask(
                name=f"{self.split}-{number:06d}.tar",
                first_key=first,
                samples=[samples[place] for place in chosen],
            )


def differences(request: PackRequest, manifest: Manifest) -> list[str]:
    """Return in words what a finished set has otherwise than asked; nothing if it is the same."""
    wanted = _asked(request) | {
        "classes": len(request.source.classes),
        "images": request.num_samples,
    }
    found = manifest.packing.model_dump() | {
        "split": manifest.split,
        "encoding": manifest.encoding,
        "size": manifest.image_size,
        "squared": manifest.squared,
        "classes": len(manifest.classes),
        "images": manifest.num_samples + sum(manifest.packing.skipped.values()),
    }
    # Digests are not for people.
    found_otherwise = [
        f"{name} {found[name]} (asked: {wanted[name]})"
        for name in wanted
        if name != "source_sha256" and found[name] != wanted[name]
    ]
    if not found_otherwise and manifest.classes != request.source.classes:
        found_otherwise.append("other classes")
    if not found_otherwise and manifest.packing.source_sha256 != request.source.sha256:
        found_otherwise.append("other images")
    return found_otherwise


def _asked(request: PackRequest) -> dict[str, object]:
    """Return what was asked for by name, without what comes of it."""
    return {
        # What was skipped is a result.
        **request.packing().model_dump(exclude={"skipped", "skipped_images"}),
        "split": request.split,
        "encoding": request.encoding,
        "size": request.size,
        "squared": request.squared,
    }
