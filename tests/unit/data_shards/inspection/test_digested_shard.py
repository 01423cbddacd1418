import errno
import hashlib
import tempfile

import pytest

from data_shards.errors import ScratchError
from data_shards.inspection import digested_shard
from data_shards.inspection.digested_shard import DigestedShard
from data_shards.storage.folder import open_folder

CONTENT = bytes(range(256)) * 100


@pytest.fixture(params=["local", "remote"])
def folder(request, tmp_path):
    folder = open_folder(tmp_path if request.param == "local" else "memory://shards")
    folder.put_bytes(CONTENT, "0.tar")
    return folder


def test_a_shard_is_read_once_and_then_in_parts(folder, monkeypatch):
    monkeypatch.setattr(digested_shard, "_CHUNK_BYTES", 1000)
    with DigestedShard(folder, "0.tar") as shard:
        counts = list(shard.digest())
        assert max(counts) == 1000
        assert sum(counts) == shard.size_bytes == len(CONTENT)
        assert shard.sha256 == hashlib.sha256(CONTENT).hexdigest()
        assert shard.read(300, 20) == CONTENT[300:320]
        assert shard.read(len(CONTENT) - 5, 20) == CONTENT[-5:]


def test_one_that_is_not_there_is_told(folder):
    with pytest.raises(FileNotFoundError):
        DigestedShard(folder, "1.tar")


class _FullDisk(tempfile.SpooledTemporaryFile[bytes]):
    def write(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_no_room_for_a_remote_one_is_no_fault_of_the_shard(monkeypatch):
    folder = open_folder("memory://shards")
    folder.put_bytes(CONTENT, "0.tar")
    monkeypatch.setattr(tempfile, "TemporaryFile", _FullDisk)
    with (
        DigestedShard(folder, "0.tar") as shard,
        pytest.raises(ScratchError, match="No space left on device; make room, name another"),
    ):
        list(shard.digest())
