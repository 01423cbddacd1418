"""Packing into an object store; what is common to all targets is tested by going on."""

from pathlib import Path

import fsspec
import pytest

from data_shards.errors import PackError, StorageDownError, StorageError
from data_shards.packing import pack as packing
from data_shards.packing.begun import read_begun, write_begun
from data_shards.packing.pack import pack
from data_shards.packing.target import open_target
from data_shards.storage.folder import open_folder
from data_shards.storage.object_folder import ObjectFolder
from tests.unit.data_shards.packing.rehearsal import InlinePool, contents


@pytest.fixture
def place(monkeypatch) -> str:
    """A place in memory, into which this process packs."""
    monkeypatch.setattr(packing, "WorkerPool", InlinePool)
    fsspec.filesystem("memory").store.clear()
    return "memory://bucket/train"


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_store_holds_the_same_bytes_as_a_folder(request_for, packed, bucket, tmp_path):
    out = f"{bucket}/sets/train"
    report = pack(request_for(), out, num_processes=2, scratch=tmp_path / "scratch")
    assert contents(open_folder(out)) == contents(open_folder(packed))
    assert not open_folder(f"{out}/.packing").names()
    assert not files_below(tmp_path / "scratch")
    assert report.num_tried == 37
    assert report.packer_peak_memory_bytes > 0
    again = pack(request_for(), out, num_processes=2, scratch=tmp_path / "scratch")
    assert again.already_packed
    assert again.manifest == report.manifest


def test_a_store_that_lacks_a_shard_is_not_taken_for_finished(request_for, place, tmp_path):
    pack(request_for(), place, num_processes=1, scratch=tmp_path)
    open_folder(place).put_bytes(b"short", "train-000001.tar")
    with pytest.raises(PackError, match=f"{place}/train-000001.tar is missing or not whole"):
        pack(request_for(), place, num_processes=1, scratch=tmp_path)
    open_folder(place).delete("train-000001.tar")
    with pytest.raises(PackError, match=f"{place}/train-000001.tar is missing or not whole"):
        pack(request_for(), place, num_processes=1, scratch=tmp_path)


def test_shards_that_nobody_began_are_not_overwritten(request_for, place, tmp_path):
    open_folder(place).put_bytes(b"somebody's", "train-000001.tar")
    for force in (False, True):
        with pytest.raises(PackError, match=r"without a manifest, .*; choose another folder$"):
            pack(request_for(), place, num_processes=1, scratch=tmp_path, force=force)
    assert contents(open_folder(place)) == {"train-000001.tar": b"somebody's"}


def test_an_outage_is_named_and_what_was_uploaded_is_kept(
    request_for, place, tmp_path, monkeypatch, packed
):
    put = ObjectFolder.put

    def failing(folder: ObjectFolder, path: Path, name: str) -> None:
        if name == "train-000002.tar":
            raise StorageDownError(folder.at(name), "could not be written", "try again")
        put(folder, path, name)

    monkeypatch.setattr(ObjectFolder, "put", failing)
    with pytest.raises(StorageDownError, match=r"000002\.tar could not be written") as down:
        pack(request_for(), place, num_processes=1, scratch=tmp_path)
    assert down.value.__notes__[0].startswith(f"2 of 4 shards are finished and kept for {place}")
    assert not files_below(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(packing, "WorkerPool", InlinePool)
    assert pack(request_for(), place, num_processes=1, scratch=tmp_path).shards_taken == 2
    assert contents(open_folder(place)) == contents(open_folder(packed))


def test_another_machine_that_began_something_else_is_noticed(
    request_for, place, tmp_path, monkeypatch
):
    work = open_folder(f"{place}/.packing")

    class Overtaken(InlinePool):
        def share(self, tasks, *, last):
            yield from super().share(tasks, last=last)
            begun = read_begun(work)
            assert begun is not None
            write_begun(work, begun.model_copy(update={"request_sha256": "0" * 64}))

    monkeypatch.setattr(packing, "WorkerPool", Overtaken)
    with pytest.raises(PackError, match="another machine has begun to pack something else"):
        pack(request_for(), place, num_processes=1, scratch=tmp_path)
    assert not open_folder(place).exists("manifest.json")


def test_one_machine_packs_into_a_store_once_at_a_time(place, tmp_path):
    with open_target(place, tmp_path):
        with (
            pytest.raises(PackError, match=f"is packing into {place}"),
            open_target(place + "/", tmp_path, wait_s=0),
        ):
            pass
        with open_target("memory://bucket/validation", tmp_path):
            pass


def test_what_a_killed_run_left_in_the_scratch_folder_goes(request_for, place, tmp_path):
    with open_target(place, tmp_path) as target:
        (target.places.growing / "train-000000.tar").write_bytes(b"half")
    pack(request_for(), place, num_processes=1, scratch=tmp_path)
    assert not files_below(tmp_path)


def test_scratch_and_places_that_cannot_be_are_named(request_for, place, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PackError, match=r"/file\S* is a file, where a folder must be; choose"):
        pack(request_for(), place, num_processes=1, scratch=tmp_path / "file")
    with pytest.raises(PackError, match=r"/file is a file, where a folder must be; choose"):
        pack(request_for(), tmp_path / "file", num_processes=1)
    with pytest.raises(StorageError, match="ftp"):
        pack(request_for(), "ftp://host/train", num_processes=1)
