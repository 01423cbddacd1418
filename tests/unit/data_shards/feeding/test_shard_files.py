import os
from pathlib import Path

import numpy as np
import pytest

from data_shards.errors import ShardError
from data_shards.feeding import shard_files
from data_shards.feeding.shard_files import ShardFacts, ShardFiles
from data_shards.manifest import load_manifest
from data_shards.shards.sidecars import load_index


def open_files(folder: Path) -> ShardFiles:
    facts = [
        ShardFacts(shard.name, shard.size_bytes, shard.sha256)
        for shard in load_manifest(folder).shards
    ]
    return ShardFiles(folder, facts, np.zeros(len(facts), dtype=np.uint8))


def test_reads_what_lies_there_and_its_key(packed):
    files = open_files(packed)
    for sample, (shard, offset, size, _) in enumerate(load_index(packed, load_manifest(packed))):
        content = (packed / f"train-{shard:06d}.tar").read_bytes()
        assert bytes(files.read(shard, offset, size)) == content[offset : offset + size]
        assert files.key(shard, offset) == f"{sample:09d}"
    # Larger than the first buffer.
    assert (
        bytes(files.read(0, 0, len(content)))
        == (packed / "train-000000.tar").read_bytes()[: len(content)]
    )
    files.close()


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


def test_names_a_shard_cut_short_while_open(own_copy):
    files = open_files(own_copy)
    files.read(2, 8192, 512)
    os.truncate(own_copy / "train-000002.tar", 8200)
    with pytest.raises(ShardError, match="ends before byte 8704"):
        files.read(2, 8192, 512)
    files.close()


def test_digests_each_shard_once_among_all_loaders(own_copy):
    first = open_files(own_copy)
    first.read(0, 0, 512)
    second = ShardFiles(own_copy, first._shards, first._checked)
    path = own_copy / "train-000000.tar"
    path.chmod(0o600)
    path.write_bytes(bytes(path.stat().st_size))
    assert bytes(second.read(0, 0, 512)) == bytes(512)
    first.close()
    second.close()


def test_keeps_a_bounded_number_open(packed, monkeypatch):
    monkeypatch.setattr(shard_files, "_MAX_OPEN", 2)
    files = open_files(packed)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for shard in (0, 1, 2, 3, 0, 1):
        files.read(shard, 0, 512)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 2
    files.close()
