import gzip
import struct

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
        ("a", GOOD + b"x", "holds 25 values"),
        ("a", b"\0\0\x0d\x03" + GOOD[4:], "no idx file of bytes"),
        ("a", struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1), "holds 0 values"),
        ("a.gz", GOOD, "cannot be read"),
        ("a.gz", gzip.compress(GOOD)[:-9], "cannot be read"),
    ],
)
def test_names_what_is_wrong(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=problem) as caught:
        read_idx(tmp_path / name, num_dimensions=3)
    assert str(tmp_path / name) in str(caught.value)


def test_missing_is_none(tmp_path):
    assert find_idx(tmp_path, "images") is None
