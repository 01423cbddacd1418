import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import group_by_keys, tar_file_iterator

from data_shards.shards.grouping import group_by_key
from data_shards.shards.tar_index import TarLayoutError, TarMember, walk_tar

# Few of each, so that keys and extensions meet; full stops wherever they may be.
PARTS = st.sampled_from(["a", "b", "a.b", ".a", "__b__", "__a", "a.", "b..a"])
ENDS = st.sampled_from(["", ".jpg", ".JPG", ".cls", ".seg.png", ".__"])
NAMES = st.builds(
    lambda parts, end: "/".join(parts) + end, st.lists(PARTS, min_size=1, max_size=3), ENDS
)


def tar_of(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for place, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = place
            tar.addfile(info, io.BytesIO(b"x" * place))
    return buffer.getvalue()


@settings(max_examples=60)
@given(names=st.lists(NAMES, max_size=10))
def test_samples_are_grouped_as_webdataset_groups_them(names):
    content = tar_of(names)
    files = ({**sample, "__url__": ""} for sample in tar_file_iterator(io.BytesIO(content)))
    try:
        theirs = [
            (sample.pop("__key__"), {k: len(v) for k, v in sample.items() if k != "__url__"})
            for sample in group_by_keys(files)
        ]
    except ValueError:
        with pytest.raises(TarLayoutError, match="twice in one sample"):
            list(group_by_key(walk_tar(io.BytesIO(content))))
        return
    ours = [
        (sample.key, {k: member.size_bytes for k, member in sample.members.items()})
        for sample in group_by_key(walk_tar(io.BytesIO(content)))
    ]
    assert ours == theirs


def test_members_are_told_by_extension():
    members = [
        TarMember("a/b.x/1.jpg", 512, 3),
        TarMember("a/b.x/1.seg.PNG", 1536, 4),
        TarMember("__meta__/1.jpg", 2560, 5),
        TarMember("README", 3584, 6),
        TarMember("a/2.jpg", 4608, 7),
    ]
    first, second = group_by_key(members)
    assert first == ("a/b.x/1", {"jpg": members[0], "seg.png": members[1]})
    assert second == ("a/2", {"jpg": members[4]})
