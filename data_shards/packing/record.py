"""What is known of a finished shard, as it is kept beside it until the whole set is finished."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel

from data_shards.arrays import Int64s
from data_shards.manifest import SkippedImage
from data_shards.packing.statistics import PixelSums

RECORD_SUFFIX = ".record"
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class PackedShard:
    """A shard that is complete."""

    name: str
    rows: Int64s
    """(num_samples, 3) its part of the index: offset, size, label."""
    size_bytes: int
    sha256: str
    skipped: Mapping[str, int]
    """Images left out, by reason."""
    skipped_images: tuple[SkippedImage, ...]
    """The first of them."""

    @property
    def num_tried(self) -> int:
        """Images packed or skipped."""
        return len(self.rows) + sum(self.skipped.values())


class _Facts(BaseModel):
    """Of a record, what is no array."""

    request_sha256: str
    name: str
    size_bytes: int
    sha256: str
    skipped: dict[str, int]
    skipped_images: tuple[SkippedImage, ...]
    num_images: int


def record_name(shard: str) -> str:
    """Return what the record of a shard is called."""
    return shard + RECORD_SUFFIX


def write_record(shard: PackedShard, sums: PixelSums, request_sha256: str) -> bytes:
    """Return a record of a shard of this request, to be written beside it: a digest, and npz."""
    facts = _Facts(
        request_sha256=request_sha256,
        name=shard.name,
        size_bytes=shard.size_bytes,
        sha256=shard.sha256,
        skipped=dict(shard.skipped),
        skipped_images=shard.skipped_images,
        num_images=sums.num_images,
    )
    content = io.BytesIO()
    np.savez(
        content,
        facts=np.frombuffer(facts.model_dump_json().encode(), dtype=np.uint8),
        rows=shard.rows,
        # The fewest bytes for each number: of a thousand images, half of what 64 bits would take.
        image=sums.image.astype(np.min_scalar_type(int(sums.image.max()))),
        products=sums.products,
    )
    return hashlib.sha256(content.getbuffer()).digest() + content.getvalue()


def read_record(
    content: bytes, name: str, request_sha256: str
) -> tuple[PackedShard, PixelSums] | None:
    """Return what a record knows; None if it is damaged, or of another shard or request."""
    digest, written = content[:_DIGEST_BYTES], memoryview(content)[_DIGEST_BYTES:]
    if hashlib.sha256(written).digest() != digest:
        return None
    with np.load(io.BytesIO(written), allow_pickle=False) as arrays:
        facts = _Facts.model_validate_json(arrays["facts"].tobytes())
        if (facts.name, facts.request_sha256) != (name, request_sha256):
            return None
        shard = PackedShard(
            name=facts.name,
            rows=arrays["rows"],
            size_bytes=facts.size_bytes,
            sha256=facts.sha256,
            skipped=facts.skipped,
            skipped_images=facts.skipped_images,
        )
        image = arrays["image"].astype(np.int64)
        return shard, PixelSums(facts.num_images, image, arrays["products"])
