import json
import os
import resource
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from data_shards.errors import ShardError
from data_shards.feeding.checked_shards import CheckedShards
from data_shards.feeding.corrupt import CorruptReason, CorruptSample
from data_shards.feeding.decode import Decoder
from data_shards.feeding.loader import (
    BatchDone,
    BatchTask,
    Loader,
    LoaderSetup,
    memory_bytes,
    view_filled,
    view_slots,
)
from data_shards.feeding.shard_files import ShardFacts
from data_shards.manifest import load_manifest
from data_shards.processes.shared_memory import SharedMemory
from data_shards.shards.index import OFFSET, SHARD, SIZE
from data_shards.shards.sidecars import load_index
from data_shards.storage.set_files import LocalFiles

NUM_SLOTS, BATCH, CROP = 2, 4, 24


class Feed:
    """A loader in this process, and the memory it shares with nobody."""

    def __init__(self, folder: Path, *, names_samples: bool = False) -> None:
        manifest = load_manifest(folder)
        shards = tuple(ShardFacts(s.name, s.size_bytes, s.sha256) for s in manifest.shards)
        shape = (NUM_SLOTS, BATCH, CROP, CROP, 3)
        self.memory = SharedMemory(memory_bytes(shape, len(shards)))
        self.slots = view_slots(self.memory.buffer, shape)
        self.filled_slots = view_filled(self.memory.buffer, NUM_SLOTS)
        self.checked = np.frombuffer(
            self.memory.buffer, np.uint8, offset=self.slots.nbytes, count=len(shards)
        )
        setup = LoaderSetup(
            files=LocalFiles(folder),
            shards=shards,
            index=ShardFacts(manifest.index.name, manifest.index.size_bytes, manifest.index.sha256),
            remembered=CheckedShards(),
            max_open_shards=2,
            encoding=manifest.encoding,
            image_size=manifest.image_size,
            squared=manifest.squared,
            names_samples=names_samples,
            slots_shape=shape,
            memory_fd=self.memory.fd,
        )
        self.loader = Loader(setup)

    def filled(self, task: BatchTask) -> BatchDone:
        (done,) = self.loader.fill(task)
        return done

    def close(self) -> None:
        """Close what in a loader's own process goes with it."""
        self.loader._files.close()
        self.memory.close()


def task(*samples: int, real: tuple[bool, ...] = (True,) * BATCH) -> BatchTask:
    return BatchTask(
        step=9,
        slot=1,
        samples=np.array(samples, dtype=np.int64),
        real=np.array(real),
        offsets=np.array([(0, 0), (3, 5), (8, 8), (1, 0)], dtype=np.int64),
        mirrored=np.array([False, True, False, True]),
    )


@pytest.fixture
def feed(own_copy: Path) -> Iterator[Feed]:
    with closing(Feed(own_copy)) as feed:
        yield feed


def stored(folder: Path, sample: int) -> np.ndarray:
    """Return the whole image, uint8 (32, 32, 3), read without a loader."""
    manifest = load_manifest(folder)
    row = load_index(folder, manifest)[sample]
    content = (folder / manifest.shards[row[SHARD]].name).read_bytes()
    data = content[row[OFFSET] : row[OFFSET] + row[SIZE]]
    return Decoder("jpeg", 32).decode(memoryview(data)).copy()


def test_a_slot_is_filled_with_the_crops_and_another_left_alone(own_copy, feed):
    feed.slots[:] = 7
    done = feed.filled(task(3, 36, 20, 3))
    assert (done.step, done.corrupt, done.keys) == (9, {}, None)
    assert feed.filled_slots.tolist() == [0, 1]
    assert (feed.slots[0] == 7).all()
    first, last, middle = (stored(own_copy, sample) for sample in (3, 36, 20))
    assert np.array_equal(feed.slots[1, 0], first[:24, :24])
    assert np.array_equal(feed.slots[1, 1], last[3:27, 5:29][:, ::-1])
    assert np.array_equal(feed.slots[1, 2], middle[8:, 8:])
    assert np.array_equal(feed.slots[1, 3], first[1:25, :24][:, ::-1])
    # Samples 0-9, 20-29 and 30-36: those shards alone were digested.
    assert feed.checked.tolist() == [1, 0, 1, 1]


def test_places_without_a_sample_become_zeros(feed):
    feed.slots[:] = 7
    done = feed.filled(task(3, 0, 0, 3, real=(True, False, False, True)))
    assert done.corrupt == {}
    assert not feed.slots[1, 1:3].any()
    assert feed.slots[1, 0].any()
    assert feed.slots[1, 3].any()


def test_a_corrupt_sample_becomes_zeros_and_is_named(own_copy, seal):
    manifest = load_manifest(own_copy)
    shard, offset, size, _ = load_index(own_copy, manifest)[11].tolist()
    with (own_copy / manifest.shards[shard].name).open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))
    seal(own_copy)
    with closing(Feed(own_copy)) as feed:
        feed.slots[:] = 7
        done = feed.filled(task(3, 11, 20, 11))
    assert sorted(done.corrupt) == [1, 3]
    assert done.corrupt[1] == done.corrupt[3]
    assert done.corrupt[1] == CorruptSample(
        11, "train-000001.tar", "000000011", CorruptReason.NOT_AN_IMAGE, "is not a JPEG"
    )
    assert not feed.slots[1, [1, 3]].any()
    assert feed.slots[1, 0].any()


def test_a_shard_that_is_not_the_manifests_is_named(own_copy, feed):
    (own_copy / "train-000003.tar").write_bytes(b"")
    with pytest.raises(ShardError, match="has 0 bytes where the manifest says") as caught:
        feed.filled(task(3, 36, 20, 3))
    assert caught.value.shard == str(own_copy / "train-000003.tar")


def test_keys_are_given_where_they_are_asked_for(own_copy):
    with closing(Feed(own_copy, names_samples=True)) as feed:
        done = feed.filled(task(3, 0, 20, 3, real=(True, False, True, True)))
    assert done.keys == (
        "train-000000.tar:000000003",
        "",
        "train-000002.tar:000000020",
        "train-000000.tar:000000003",
    )


@pytest.mark.parametrize(
    ("points_at", "reason", "key"),
    [
        # Into the image itself, at the header of the next member, at one byte, at nothing.
        (lambda offset, size: (offset + 100, size - 100), CorruptReason.NOT_AN_IMAGE, "#11"),
        (lambda offset, size: (offset - 512, size), CorruptReason.NOT_AN_IMAGE, "#11"),
        (lambda offset, size: (offset, 1), CorruptReason.NOT_AN_IMAGE, "000000011"),
        (lambda offset, size: (offset, 0), CorruptReason.NOT_AN_IMAGE, "000000011"),
        (lambda offset, size: (offset, size - 40), CorruptReason.BROKEN, "000000011"),
    ],
)
def test_an_index_that_points_at_odd_places_makes_corrupt_samples(
    own_copy, seal, points_at, reason, key
):
    index = np.load(own_copy / "index.npy")
    index[11, OFFSET : SIZE + 1] = points_at(*index[11, OFFSET : SIZE + 1].tolist())
    np.save(own_copy / "index.npy", index)
    seal(own_copy)
    with closing(Feed(own_copy)) as feed:
        done = feed.filled(task(3, 11, 20, 12))
        assert not feed.slots[1, 1].any()
    assert [(place, sample.reason, sample.key) for place, sample in done.corrupt.items()] == [
        (1, reason, key)
    ]


def test_what_is_far_too_large_is_not_even_read(own_copy):
    # A sparse gigabyte that the index calls an image.
    path = own_copy / "train-000001.tar"
    size = 1 << 30
    os.truncate(path, size)
    index = np.load(own_copy / "index.npy")
    index[11, SIZE] = size - index[11, OFFSET]
    np.save(own_copy / "index.npy", index)
    document = json.loads((own_copy / "manifest.json").read_text())
    document["shards"][1]["size_bytes"] = size
    (own_copy / "manifest.json").write_text(json.dumps(document))
    with closing(Feed(own_copy)) as feed:
        # Its digest, of a gigabyte of zeros, is not what is tested.
        feed.checked[1] = 1
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        done = feed.filled(task(3, 11, 20, 12))
        grown_bytes = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert [sample.reason for sample in done.corrupt.values()] == [CorruptReason.TOO_MANY_BYTES]
    assert done.corrupt[1].detail.startswith(f"has {size - index[11, OFFSET]:,} bytes")
    assert grown_bytes < 50_000_000
