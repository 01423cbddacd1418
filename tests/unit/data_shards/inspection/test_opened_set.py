import numpy as np
import pytest

from data_shards.errors import ShardError, StorageError
from data_shards.inspection.opened_set import open_set
from data_shards.manifest import ManifestError, load_manifest
from data_shards.storage.folder import open_folder


@pytest.mark.parametrize("name", ["", "manifest.json"])
def test_a_folder_or_its_manifest_can_be_named(packed, name):
    opened = open_set(str(packed / name))
    assert opened.manifest == load_manifest(packed)
    assert opened.folder.location == str(packed)
    assert np.array_equal(opened.index(), np.load(packed / "index.npy"))
    assert np.array_equal(opened.mean_image(), np.load(packed / "mean_image.npy"))


@pytest.mark.parametrize("ending", ["", "/", "/manifest.json"])
def test_a_set_in_an_object_store_is_the_same(packed, ending):
    folder = open_folder("memory://set/train")
    for path in packed.iterdir():
        folder.put(path, path.name)
    opened = open_set(f"memory://set/train{ending}")
    assert opened.manifest == load_manifest(packed)
    assert opened.folder.location == "memory://set/train"
    assert np.array_equal(opened.index(), np.load(packed / "index.npy"))
    assert np.array_equal(opened.mean_image(), np.load(packed / "mean_image.npy"))
    folder.delete("index.npy")
    folder.put_bytes(b"x" * (1 << 16), "mean_image.npy")
    with pytest.raises(ShardError, match=r"^memory://set/train/index\.npy: is missing"):
        opened.index()
    with pytest.raises(ShardError, match=r"^memory://set/train/mean_image\.npy: has .* bytes"):
        opened.mean_image()


def test_what_is_no_set_is_told_by_its_location(tmp_path):
    with pytest.raises(ManifestError, match="does not exist"):
        open_set(str(tmp_path))
    with pytest.raises(ManifestError, match=r"^memory://nothing/manifest\.json does not exist"):
        open_set("memory://nothing")
    open_folder("memory://odd").put_bytes(b"\xff\xfe", "manifest.json")
    with pytest.raises(ManifestError, match=r"^memory://odd/manifest\.json cannot be read"):
        open_set("memory://odd")
    with pytest.raises(StorageError, match="kind 'ftp'"):
        open_set("ftp://somewhere/set")
