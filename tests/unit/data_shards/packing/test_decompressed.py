from pathlib import Path

import pytest

from data_shards.errors import PackError
from data_shards.packing.decompressed import folder_for_decompressed


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("scratch", ["scratch/new", None])
def test_what_a_killed_run_left_goes_with_the_next(tmp_path, cache, monkeypatch, scratch):
    monkeypatch.chdir(tmp_path)
    place = Path(scratch) if scratch else None
    with folder_for_decompressed("a.tgz", "s3://out/train", place) as folder:
        (folder / "a.tar").touch()
    assert not folder.exists()
    assert folder.is_relative_to(place or cache)
    # As if killed.
    folder.mkdir()
    (folder / "a.tar").touch()
    with folder_for_decompressed(str(tmp_path / "a.tgz"), "s3://out/train", place) as again:
        assert again == folder
        assert not list(again.iterdir())
    assert not folder.exists()


@pytest.mark.usefixtures("cache")
def test_the_same_is_packed_once_at_a_time_and_splits_beside_each_other():
    with folder_for_decompressed("a.tgz", "train", None) as train:
        with (
            pytest.raises(PackError, match="another process is packing into train"),
            folder_for_decompressed("a.tgz", "train", None, wait_s=0),
        ):
            pass
        assert train.exists()
        with folder_for_decompressed("a.tgz", "validation", None) as validation:
            assert validation != train


def test_where_it_cannot_be_is_told(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(PackError, match="is a file, where a folder must be"),
        folder_for_decompressed("a.tgz", "out", tmp_path / "file"),
    ):
        pass
