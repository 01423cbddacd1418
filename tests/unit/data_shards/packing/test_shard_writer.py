import hashlib
import io
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.packing.shard_writer import ShardWriter
from tests.packed_tars import samples_in


# Around the sizes of a tar's block and record.
@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 3000), st.sampled_from([511, 512, 513, 10240, 99_999])),
            st.integers(0, 99_999),
        ),
        max_size=12,
    )
)
def test_rows_and_digest_are_what_reading_the_tar_gives(samples):
    file = io.BytesIO()
    with ShardWriter(file, "jpg") as writer:
        for key, (size, label) in enumerate(samples):
            writer.add(f"{key:09d}", label, bytes([key + 1]) * size)
    content = file.getvalue()
    assert writer.size_bytes == len(content)
    assert writer.sha256 == hashlib.sha256(content).hexdigest()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        path.write_bytes(content)
        assert writer.rows.tolist() == [list(row) for row in samples_in(path)]
    for key, (offset, size, _) in enumerate(writer.rows.tolist()):
        assert content[offset : offset + size] == bytes([key + 1]) * size
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        facts = {(each.mtime, each.uname, each.gname, each.mode, each.uid) for each in tar}
    assert facts <= {(0, "root", "root", 0o444, 0)}


class FullDisk(io.BytesIO):
    def write(self, content) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_disk_that_is_full_is_told_once(size):
    file = FullDisk()

    def fill() -> None:
        with ShardWriter(file, "jpg") as writer:
            writer.add("0", 1, b"x" * size)

    with pytest.raises(OSError, match="No space"):
        fill()
