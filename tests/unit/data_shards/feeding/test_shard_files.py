import ctypes
import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_shards.errors import ShardError
from data_shards.feeding import shard_files
from data_shards.feeding.shard_files import ShardFacts, ShardFiles
from data_shards.manifest import load_manifest
from data_shards.shards.sidecars import load_index
from data_shards.storage.set_files import LocalFiles
from tests.waiting import wait_for

LIBC = ctypes.CDLL(None, use_errno=True)


def open_files(folder: Path, **options) -> ShardFiles:
    facts = [
        ShardFacts(shard.name, shard.size_bytes, shard.sha256)
        for shard in load_manifest(folder).shards
    ]
    return ShardFiles(LocalFiles(folder), facts, np.zeros(len(facts), dtype=np.uint8), **options)


def test_reads_what_lies_there(packed):
    files = open_files(packed)
    held = []
    for shard, offset, size, _ in load_index(packed, load_manifest(packed)).tolist():
        content = (packed / f"train-{shard:06d}.tar").read_bytes()
        held.append((files.read(shard, offset, size), content[offset : offset + size]))
    files.close()
    # What was read stays what it was.
    assert all(piece == content for piece, content in held)
    assert held[0][0].readonly


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: os.truncate(path, 4096), "has 4096 bytes where the manifest says"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "manifest's sha256"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be opened"),
    ],
)
def test_names_a_shard_that_is_not_the_manifests(own_copy, damage, problem):
    path = own_copy / "train-000002.tar"
    damage(path)
    files = open_files(own_copy)
    files.read(1, 0, 512)
    with pytest.raises(ShardError, match=problem) as caught:
        files.read(2, 0, 512)
    assert caught.value.shard == str(path)
    assert str(caught.value) == (
        f"{path}: {caught.value.problem}; restore the file, or pack the images again"
    )
    files.close()


def test_names_a_piece_beyond_the_end(packed):
    files = open_files(packed)
    size = (packed / "train-000002.tar").stat().st_size
    assert len(files.read(2, size - 512, 512)) == 512
    for offset in (size - 511, size, size + 512, -512):
        with pytest.raises(ShardError, match=f"train-000002.tar: ends before byte {offset + 512}"):
            files.read(2, offset, 512)
    files.close()


def test_names_a_shard_cut_short_while_mapped(own_copy):
    files = open_files(own_copy)
    piece = files.read(2, 4096, 512)
    os.truncate(own_copy / "train-000002.tar", 8200)
    assert bytes(files.read(2, 4096, 512)) == bytes(piece)
    with pytest.raises(ShardError, match="ends before byte 8704"):
        files.read(2, 8192, 512)
    manifest = load_manifest(own_copy)
    facts = [ShardFacts(each.name, each.size_bytes, each.sha256) for each in manifest.shards]
    error = shard_files.cut_short(LocalFiles(own_copy), facts)
    assert error is not None
    assert error.shard == f"{own_copy}/train-000002.tar"
    size = manifest.shards[2].size_bytes
    assert error.problem == f"was cut short to 8200 bytes of {size} while it was read"
    (own_copy / "train-000002.tar").unlink()
    assert shard_files.cut_short(LocalFiles(own_copy), facts) is None


def test_a_piece_in_use_that_is_cut_off_ends_the_process(own_copy):
    """Why the reader has to look for what was cut short."""
    program = (
        "import mmap, os, sys; file = open(sys.argv[1], 'r+b');"
        "piece = memoryview(mmap.mmap(file.fileno(), 0))[8192:]; os.truncate(file.fileno(), 8192);"
        "bytes(piece)"
    )
    arguments = [sys.executable, "-c", program, own_copy / "train-000002.tar"]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGBUS


def test_digests_each_shard_once_among_all_loaders(own_copy):
    first = open_files(own_copy)
    first.read(0, 0, 512)
    second = ShardFiles(LocalFiles(own_copy), first._shards, first._checked)
    path = own_copy / "train-000000.tar"
    path.chmod(0o600)
    path.write_bytes(bytes(path.stat().st_size))
    assert bytes(second.read(0, 0, 512)) == bytes(512)
    first.close()
    second.close()


def test_keeps_a_bounded_number_mapped(packed):
    files = open_files(packed, max_open=2)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for shard in (0, 1, 2, 3, 0, 1):
        files.read(shard, 0, 512)
    assert mapped(packed) == 2
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before + 2
    piece = files.read(1, 0, 512)
    files.close()
    assert mapped(packed) == 1
    del piece
    assert mapped(packed) == 0


def mapped(folder: Path) -> int:
    return sum(str(folder) in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_asks_for_what_is_expected_while_the_disk_is_read(own_copy, monkeypatch):
    path = own_copy / "train-000001.tar"
    files = open_files(own_copy)
    files.read(1, 0, 512)
    files.close()
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(descriptor, 4096):
        pytest.skip(f"{own_copy} lies in memory")

    monkeypatch.setattr(shard_files, "_blocks_read", lambda: 0)
    files.expect([(1, 5000, 600)])
    assert not in_memory(descriptor, 4096)
    monkeypatch.setattr(shard_files, "_blocks_read", lambda: 1)
    files.expect([(1, 5000, 600)])
    wait_for("the disk", lambda: in_memory(descriptor, 4096), timeout_s=30, every_s=0.001)
    files.close()
    os.close(descriptor)


def in_memory(descriptor: int, offset: int) -> bool:
    """Say whether a page of a file is in memory; to try to read it may have it read."""
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY) as whole:
        address = ctypes.addressof(ctypes.c_char.from_buffer(whole, offset))
        resident = ctypes.c_ubyte()
        status = LIBC.mincore(
            ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE), ctypes.byref(resident)
        )
    assert status == 0, os.strerror(ctypes.get_errno())
    return bool(resident.value & 1)
