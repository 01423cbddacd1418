import json

import pytest

from data_shards.errors import DataError
from data_shards.manifest import ManifestError, load_manifest


def test_reads_from_folder_or_file_and_writes_the_same_bytes(packed):
    manifest = load_manifest(packed)
    assert load_manifest(packed / "manifest.json") == manifest
    assert manifest.to_json() == (packed / "manifest.json").read_text()
    assert [entry.name for entry in manifest.files][-2:] == ["index.npy", "mean_image.npy"]


def change(**fields):
    return lambda document: document | fields


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(version=2), "has version 2; this release reads version 1"),
        (change(surprise=1), "surprise: Extra inputs are not permitted"),
        (change(num_samples=38), "the shards hold 37 samples, not 38"),
        (change(split="../x"), "split: String should match"),
        (lambda document: [document], "has version None"),
        (
            lambda document: document | {"index": document["index"] | {"name": "../index.npy"}},
            "index.name: String should match",
        ),
    ],
)
def test_says_what_is_wrong_where(own_copy, edit, message):
    path = own_copy / "manifest.json"
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    with pytest.raises(ManifestError) as caught:
        load_manifest(own_copy)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert isinstance(caught.value, DataError)


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "is not JSON"), (b"\xff\xfe{", "cannot be read")]
)
def test_unreadable_manifests_are_named(tmp_path, content, message):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        load_manifest(tmp_path)


def test_a_missing_manifest_says_how_to_make_one(tmp_path):
    with pytest.raises(ManifestError, match="python -m data_shards pack"):
        load_manifest(tmp_path)
