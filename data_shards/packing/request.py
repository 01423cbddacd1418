"""What is to be packed, and how."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Literal

from data_shards.errors import PackError
from data_shards.manifest import MAX_SKIPPED_IMAGES, ClassEntry, Manifest, Packing
from data_shards.order import packing_order
from data_shards.packing.record import PackedShard
from data_shards.sources.source import Reference, Source

# To be raised with every change of what the same request packs.
_PACKING_VERSION = 1
# A pixel or a byte of a tar may be another in another release of these.
_DECIDING_PACKAGES = ("pillow", "simplejpeg", "webdataset")
# Facts that are digests, and what to say where one differs.
_DIGESTS = {"classes_sha256": "other classes", "source_sha256": "other images"}

Fact = str | bool | int | None
"""Of a request: one of the things that decide what it packs."""


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
    def facts(self) -> dict[str, Fact]:
        """All that decides what is packed, by name: what was asked, of what, and by what."""
        return {
            # What was skipped is a result.
            **self.packing().model_dump(exclude={"skipped", "skipped_images"}),
            "split": self.split,
            "encoding": self.encoding,
            "size": self.size,
            "squared": self.squared,
            "classes": len(self.source.classes),
            "classes_sha256": _classes_sha256(self.source.classes),
            "images": self.num_samples + sum(self.source.skipped.values()),
            **{name: version(name) for name in _DECIDING_PACKAGES},
            "packing_version": _PACKING_VERSION,
        }

    @cached_property
    def sha256(self) -> str:
        """Digest of the facts: a later run takes the shards of its like."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()

    def packing(self, shards: Sequence[PackedShard] = ()) -> Packing:
        """Return the manifest's record of this request and what was skipped in it."""
        skipped = dict(self.source.skipped)
        for shard in shards:
            for reason, count in shard.skipped.items():
                skipped[reason] = skipped.get(reason, 0) + count
        images = [
            *self.source.skipped_images,
            *(image for shard in shards for image in shard.skipped_images),
        ]
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


def facts_of(manifest: Manifest) -> dict[str, Fact]:
    """Return the facts of the request that made a finished set, as far as its manifest tells."""
    return {
        **manifest.packing.model_dump(exclude={"skipped", "skipped_images"}),
        "split": manifest.split,
        "encoding": manifest.encoding,
        "size": manifest.image_size,
        "squared": manifest.squared,
        "classes": len(manifest.classes),
        "classes_sha256": _classes_sha256(manifest.classes),
        "images": manifest.num_samples + sum(manifest.packing.skipped.values()),
    }


def differences(found: Mapping[str, Fact], asked: Mapping[str, Fact]) -> list[str]:
    """Return in words which of the facts found are otherwise than asked; none if all are equal."""
    otherwise = [name for name in found if found[name] != asked.get(name)]
    told = [
        f"{name} {found[name]} (asked: {asked.get(name)})"
        for name in otherwise
        if name not in _DIGESTS
    ]
    # Digests are not for people.
    return told or [words for name, words in _DIGESTS.items() if name in otherwise][:1]


def _classes_sha256(classes: Sequence[ClassEntry]) -> str:
    document = [(each.name, each.synset) for each in classes]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()
