import hashlib
import os

import numpy as np
import pytest

from data_shards.errors import ShardError
from data_shards.manifest import load_manifest
from data_shards.shards.index import LABEL, OFFSET, SHARD, SIZE
from data_shards.shards.sidecars import load_index, load_mean_image, save_sidecar


def test_a_saved_array_is_described_and_forced_to_disk(tmp_path, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    entry = save_sidecar(tmp_path, "a.npy", np.arange(5))
    content = (tmp_path / "a.npy").read_bytes()
    assert (entry.name, entry.size_bytes) == ("a.npy", len(content))
    assert entry.sha256 == hashlib.sha256(content).hexdigest()
    assert synced == [(tmp_path / "a.npy").stat().st_ino]
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2, 3, 4]


def test_a_sound_set_is_loaded(packed):
    manifest = load_manifest(packed)
    index = load_index(packed, manifest)
    assert index.shape == (37, 4)
    assert load_mean_image(packed, manifest).shape == (32, 32, 3)


@pytest.mark.parametrize("name", ["index.npy", "mean_image.npy"])
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: os.truncate(path, 100), "has 100 bytes where the manifest says"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "the manifest's sha256"),
    ],
)
def test_a_file_that_is_not_the_manifests_is_named(own_copy, name, damage, problem):
    damage(own_copy / name)
    load = load_index if name == "index.npy" else load_mean_image
    with pytest.raises(ShardError, match=problem) as caught:
        load(own_copy, load_manifest(own_copy))
    assert caught.value.shard == str(own_copy / name)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("index.npy", b"no array at all", "is no npy file"),
        ("mean_image.npy", b"no array at all", "is no npy file"),
        ("index.npy", np.zeros((3, 4), dtype=np.int64), r"holds int64 \(3, 4\)"),
        ("mean_image.npy", np.zeros((32, 32, 3)), r"holds float64 \(32, 32, 3\)"),
    ],
)
def test_another_array_is_named_though_its_digest_is_right(own_copy, seal, name, content, problem):
    if isinstance(content, bytes):
        (own_copy / name).write_bytes(content)
    else:
        np.save(own_copy / name, content)
    seal(own_copy)
    load = load_index if name == "index.npy" else load_mean_image
    with pytest.raises(ShardError, match=problem) as caught:
        load(own_copy, load_manifest(own_copy))
    assert caught.value.shard == str(own_copy / name)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        (SHARD, 3, "does not count the shards' samples as the manifest does"),
        (SHARD, -1, "does not count the shards' samples as the manifest does"),
        (LABEL, 5, "has the label 5 in train-000001.tar, outside the 5 classes"),
        (LABEL, -1, "has the label -1 in train-000001.tar, outside the 5 classes"),
        (OFFSET, 511, "has a sample that lies outside train-000001.tar"),
        (OFFSET, -512, "has a sample that lies outside train-000001.tar"),
        (OFFSET, 2**63 - 1, "has a sample that lies outside train-000001.tar"),
        (SIZE, -1, "has a sample that lies outside train-000001.tar"),
        (SIZE, 2**63 - 1, "has a sample that lies outside train-000001.tar"),
    ],
)
def test_an_index_no_shard_can_have_is_told(own_copy, seal, column, value, problem):
    index = np.load(own_copy / "index.npy")
    index[14, column] = value
    np.save(own_copy / "index.npy", index)
    seal(own_copy)
    with pytest.raises(ShardError) as caught:
        load_index(own_copy, load_manifest(own_copy))
    assert (caught.value.shard, caught.value.problem) == (str(own_copy / "index.npy"), problem)
