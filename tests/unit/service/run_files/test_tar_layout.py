import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from service.run_files.tar_layout import Member, Span, TarLayout

contents = st.lists(st.integers(0, 2000), min_size=0, max_size=4).map(
    lambda sizes: [bytes([65 + place]) * size for place, size in enumerate(sizes)]
)


def read(layout: TarLayout, files: list[bytes], start: int, stop: int) -> bytes:
    return b"".join(
        files[part.member][part.start : part.stop] if isinstance(part, Span) else part
        for part in layout.between(start, stop)
    )


def layout_of(files: list[bytes]) -> TarLayout:
    return TarLayout([Member(f"a/{place}", len(file)) for place, file in enumerate(files)])


@given(files=contents, data=st.data())
def test_any_range_is_that_part_of_the_whole(files: list[bytes], data: st.DataObject) -> None:
    layout = layout_of(files)
    whole = read(layout, files, 0, layout.size_bytes)
    assert len(whole) == layout.size_bytes
    start = data.draw(st.integers(0, layout.size_bytes))
    stop = data.draw(st.integers(start, layout.size_bytes))
    assert read(layout, files, start, stop) == whole[start:stop]


@given(files=contents)
def test_it_is_the_tar_that_tarfile_writes_and_reads(files: list[bytes]) -> None:
    layout = layout_of(files)
    whole = read(layout, files, 0, layout.size_bytes)
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.GNU_FORMAT) as written:
        for place, file in enumerate(files):
            entry = tarfile.TarInfo(f"a/{place}")
            entry.size = len(file)
            written.addfile(entry, io.BytesIO(file))
    assert whole == expected.getvalue()
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        found = [(one.name, tar.extractfile(one)) for one in tar]
        assert [(name, file.read() if file else b"") for name, file in found] == [
            (f"a/{place}", file) for place, file in enumerate(files)
        ]


def test_a_file_of_ten_gigabytes_has_its_size() -> None:
    layout = TarLayout([Member("big", 10 << 30)])
    (header, _) = layout.between(0, 513)
    assert isinstance(header, bytes)
    entry = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    assert (entry.size, layout.size_bytes) == (10 << 30, (10 << 30) + tarfile.RECORDSIZE)
