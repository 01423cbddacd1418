from pathlib import Path

import pytest

from data_shards.manifest import ManifestError
from data_shards.storage.manifests import set_location


def test_a_location_is_the_manifest_or_its_folder(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    assert set_location(str(tmp_path)) == str(tmp_path)
    assert set_location(str(tmp_path / "manifest.json")) == str(tmp_path)


def test_the_manifest_beside_another_file_is_not_meant(tmp_path: Path) -> None:
    for name in ("manifest.json", "subset.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ManifestError, match=r"subset\.json is a file of another name"):
        set_location(str(tmp_path / "subset.json"))
    # Nor the one above a folder that is not there.
    assert set_location(str(tmp_path / "trian")) == str(tmp_path / "trian")


def test_a_url_is_the_manifests_or_its_folders() -> None:
    for url in ("s3://bucket/a/train", "s3://bucket/a/train/", "s3://bucket/a/train/manifest.json"):
        assert set_location(url) == "s3://bucket/a/train"
