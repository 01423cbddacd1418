import json
import os
import shutil

import pytest

from data_shards import manifest as manifests
from data_shards.errors import DataError
from data_shards.manifest import ManifestError, load_manifest, manifest_file


def test_reads_from_folder_or_file_and_writes_the_same_bytes(packed):
    manifest = load_manifest(packed)
    assert load_manifest(packed / "manifest.json") == manifest
    assert manifest.to_json() == (packed / "manifest.json").read_text()
    assert [entry.name for entry in manifest.files][-2:] == ["index.npy", "mean_image.npy"]


@pytest.mark.parametrize("name", ["subset.json", "manifest.json.bak", "train-000000.tar"])
def test_a_file_of_another_name_is_refused_with_the_mend(own_copy, name):
    # Its shards and sidecars could not be told from those of the manifest.json beside it.
    if not (own_copy / name).exists():
        shutil.copy(own_copy / "manifest.json", own_copy / name)
    with pytest.raises(
        ManifestError, match=r"name the folder of the shards, or the manifest\.json"
    ):
        load_manifest(own_copy / name)
    with pytest.raises(ManifestError, match=r"another name than manifest\.json"):
        manifest_file(own_copy / name)


def test_folder_and_file_name_the_same_manifest(packed, tmp_path):
    assert manifest_file(packed) == manifest_file(packed / "manifest.json")
    # What is not there is looked for in a folder of that name, not beside it.
    assert manifest_file(tmp_path / "trian") == tmp_path / "trian" / "manifest.json"


def change(**fields):
    return lambda document: document | fields


def without_source_sha256(document):
    packing = {key: value for key, value in document["packing"].items() if key != "source_sha256"}
    return document | {"packing": packing}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(version=2), "has version 2, where this release reads version 1; pack"),
        (change(surprise=1), "surprise: Extra inputs are not permitted"),
        (change(num_samples=38), "the shards hold 37 samples, not 38"),
        (change(split="../x"), "split: String should match"),
        (lambda document: [document], "has version None"),
        (without_source_sha256, "packing.source_sha256: Field required"),
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
    ("content", "message"),
    [(b"{", "is not JSON"), (b"[" * 100_000, "is not JSON"), (b"\xff\xfe{", "cannot be read")],
)
def test_unreadable_manifests_are_named(tmp_path, content, message):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        load_manifest(tmp_path)


def test_a_manifest_that_is_too_large_is_not_read(packed, monkeypatch):
    size = (packed / "manifest.json").stat().st_size
    monkeypatch.setattr(manifests, "MAX_MANIFEST_BYTES", size)
    load_manifest(packed)
    monkeypatch.setattr(manifests, "MAX_MANIFEST_BYTES", size - 1)
    with pytest.raises(ManifestError, match=f"more than {size - 1} bytes, too many for a manifest"):
        load_manifest(packed)


def test_a_pipe_is_no_manifest_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(ManifestError, match="is no regular file; name the folder of a packed set"):
        load_manifest(tmp_path)


def test_a_missing_manifest_says_how_to_make_one(tmp_path):
    with pytest.raises(ManifestError, match="python -m data_shards pack"):
        load_manifest(tmp_path)


def test_the_digest_of_the_content_is_not_that_of_how_it_was_packed(packed):
    manifest = load_manifest(packed)
    packing = manifest.packing.model_copy(update={"source_sha256": "0" * 64})
    assert manifest.model_copy(update={"packing": packing}).content_sha256() == (
        manifest.content_sha256()
    )
    first, *others = manifest.shards
    shards = (first.model_copy(update={"sha256": "0" * 64}), *others)
    for other in (
        manifest.model_copy(update={"shards": shards}),
        manifest.model_copy(update={"classes": manifest.classes[::-1]}),
        manifest.model_copy(
            update={"index": manifest.index.model_copy(update={"sha256": "0" * 64})}
        ),
    ):
        assert other.content_sha256() != manifest.content_sha256()
