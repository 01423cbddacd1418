"""Packing with two processes that note each image as they read it, and kill at one of them."""

import os
import signal
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
    parent: int
    kill: str
    kill_at: int
    """At which of the notes; 0: at none."""

    def read(self, reference: Reference) -> bytes | Pixels:
        with self.notes.open("a") as notes:
            notes.write(f"{reference}\n")
        if self.kill_at and len(self.notes.read_text().splitlines()) >= self.kill_at:
            if self.kill == "with packers":
                os.killpg(os.getpgrp(), signal.SIGKILL)
            elif os.getppid() == self.parent:
                os.kill(self.parent, signal.SIGKILL)
        return self.reader.read(reference)


def main(images: str, out: str, notes: str, kill: str = "", kill_at: str = "0") -> None:
    source = open_source(Path(images), "train")
    reader = NotingReader(source.reader, Path(notes), os.getpid(), kill, int(kill_at))
    request = PackRequest(
        source=replace(source, reader=reader),
        split="train",
        size=24,
        encoding="jpeg",
        quality=90,
        samples_per_shard=SHARD_SIZE,
        limit=None,
        seed=3,
    )
    pack(request, out, num_processes=NUM_PROCESSES)
