"""What memory processes take, by /proc."""

import mmap
import os
import sys

import pytest

from tests.bench.data.memory import mapped_bytes, mapped_bytes_of, memory_of, parse_rollup

MIB = 1 << 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_pages_of_a_folders_files_count_once_they_are_touched(tmp_path):
    (tmp_path / "inside").mkdir()
    for folder in (tmp_path, tmp_path / "inside"):
        (folder / "shard.tar").write_bytes(bytes(3 * MIB))
    (tmp_path / "link").symlink_to(tmp_path)
    with (tmp_path / "shard.tar").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    assert mapped_bytes_of([os.getpid()], tmp_path) == 0
    assert not any(mapped[:: mmap.PAGESIZE])
    assert mapped_bytes_of([os.getpid()], tmp_path / "link") == 3 * MIB
    assert mapped_bytes_of([os.getpid()], tmp_path / "inside") == 0
    mapped.close()


def test_what_a_process_fills_is_its_own():
    before = memory_of([os.getpid()])
    # New pages from the kernel: what the heap would give may have been there before.
    filled = mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    filled.write(b"1" * len(filled))
    after = memory_of([os.getpid()])
    assert after.own - before.own == pytest.approx(len(filled), rel=0.1)
    assert after.mapped - before.mapped < MIB
    assert after.whole == after.own + after.mapped


def test_shared_memory_is_no_file_and_what_has_ended_has_nothing():
    memory = parse_rollup("Pss: 9 kB\nPss_Anon:  2 kB\nPss_File:    3 kB\nPss_Shmem: 4 kB\n")
    assert (memory.own, memory.mapped) == (6 * 1024, 3 * 1024)
    assert memory_of([2**31 - 1]).whole == 0


def test_mappings_without_a_file_are_passed_over(tmp_path):
    text = (
        f"7f00-7f10 r--s 00000000 00:10 7   {tmp_path}/a b-0.tar\nSize: 8 kB\nPss: 5 kB\n"
        "7f10-7f20 rw-p 00000000 00:00 0 \nPss: 6 kB\n"
        "7f20-7f30 rw-p 00000000 00:00 0   [heap]\nPss: 7 kB\n"
    )
    assert mapped_bytes(text, tmp_path) == 5 * 1024
