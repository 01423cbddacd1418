"""Packing with two processes that note each image as they read it."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from data_shards.arrays import Pixels
from data_shards.packing.pack import pack
from data_shards.packing.request import PackRequest
from data_shards.sources.choose import open_source
from data_shards.sources.source import ImageReader, Reference

SHARD_SIZE = 12
NUM_PROCESSES = 2


@dataclass(frozen=True)
class NotingReader:
    reader: ImageReader
    notes: Path

    def read(self, reference: Reference) -> bytes | Pixels:
        with self.notes.open("a") as notes:
            notes.write(f"{reference}\n")
        # So that there is a moment for a kill.
        time.sleep(0.002)
        return self.reader.read(reference)


def main(images: str, out: str, notes: str) -> None:
    source = open_source(Path(images), "train")
    request = PackRequest(
        source=replace(source, reader=NotingReader(source.reader, Path(notes))),
        split="train",
        size=24,
        encoding="jpeg",
        quality=90,
        samples_per_shard=SHARD_SIZE,
        limit=None,
        seed=3,
    )
    pack(request, out, num_processes=NUM_PROCESSES)
