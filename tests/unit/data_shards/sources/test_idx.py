import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from data_shards.errors import SourceError
from data_shards.sources.idx import find_idx, read_idx

VALUES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
GOOD = struct.pack(">4I", 0x803, 4, 2, 3) + VALUES.tobytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_reads_plain_and_gzipped(tmp_path, suffix):
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(GOOD) if suffix else GOOD)
    assert find_idx(tmp_path, "images") == path
    assert np.array_equal(read_idx(path, num_dimensions=3), VALUES)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a", b"", "too short"),
        ("a", GOOD[:-1], "holds 23 values"),
        ("a", GOOD + b"x", "holds more values where its header says"),
        ("a", b"\0\0\x0d\x03" + GOOD[4:], "no idx file of bytes"),
        (
            "a",
            struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1),
            "more than 268435456",
        ),
        ("a.gz", GOOD, "cannot be read"),
        ("a.gz", gzip.compress(GOOD)[:-9], "cannot be read"),
        ("a.gz", gzip.compress(GOOD)[:-1] + b"x", "cannot be read"),
        ("a.gz", gzip.compress(GOOD + b"x"), "holds more values where its header says"),
    ],
    ids=[
        "empty",
        "a value less",
        "a value more",
        "values that are no bytes",
        "too many values",
        "no gzip",
        "gzip cut short",
        "gzip with a wrong length",
        "a value more in gzip",
    ],
)
def test_names_what_is_wrong(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=problem) as caught:
        read_idx(tmp_path / name, num_dimensions=3)
    assert str(tmp_path / name) in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(GOOD + bytes(64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="holds more values"):
            read_idx(tmp_path / "a.gz", num_dimensions=3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_missing_is_none(tmp_path):
    assert find_idx(tmp_path, "images") is None
