from pathlib import Path

import pytest

from data_shards.manifest import ManifestError
from trainer.validation_set import folder_of


def test_a_location_is_the_manifest_or_its_folder(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    assert folder_of(str(tmp_path)) == tmp_path
    assert folder_of(str(tmp_path / "manifest.json")) == tmp_path


def test_the_manifest_beside_another_file_is_not_meant(tmp_path: Path) -> None:
    for name in ("manifest.json", "subset.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ManifestError, match=r"subset\.json is a file of another name"):
        folder_of(str(tmp_path / "subset.json"))
    # Nor the one above a folder that is not there.
    assert folder_of(str(tmp_path / "trian")) == tmp_path / "trian"
