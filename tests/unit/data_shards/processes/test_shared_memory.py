import os

import pytest

from data_shards.processes.shared_memory import SharedMemory, map_shared


@pytest.mark.parametrize("memfd", [True, False])
def test_two_maps_share_memory_that_has_no_name(memfd, monkeypatch):
    if not memfd:
        monkeypatch.delattr(os, "memfd_create")
    memory = SharedMemory(10_000)
    other = map_shared(memory.fd, 10_000)
    memory.buffer[9_999] = 7
    assert other[9_999] == 7
    assert os.fstat(memory.fd).st_nlink == 0
    memory.close()
    assert memory.buffer[9_999] == 7
