import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.run_files.ranges import UnsatisfiableRangeError, parse_range


@given(size=st.integers(0, 50), first=st.integers(0, 60), last=st.none() | st.integers(0, 60))
def test_a_range_is_the_bytes_that_it_names(size: int, first: int, last: int | None) -> None:
    named = [at for at in range(size) if at >= first and (last is None or at <= last)]
    header = f"bytes={first}-{'' if last is None else last}"
    if last is not None and last < first:
        assert parse_range(header, size) is None
    elif named:
        start, stop = parse_range(header, size) or (0, 0)
        assert list(range(start, stop)) == named
    else:
        with pytest.raises(UnsatisfiableRangeError):
            parse_range(header, size)


@given(size=st.integers(1, 50), length=st.integers(1, 60))
def test_a_suffix_is_the_last_bytes(size: int, length: int) -> None:
    start, stop = parse_range(f"bytes=-{length}", size) or (0, 0)
    assert list(range(start, stop)) == list(range(size))[-length:]


@pytest.mark.parametrize("header", ["bytes=-0", "bytes=10-", "bytes=10-20"])
def test_what_is_beyond_the_end_is_refused(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError, match="10 bytes"):
        parse_range(header, 10)


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=1-2,4-5", "lines=1-2", "bytes=a-b", "bytes=٣-", "5"],
)
def test_what_cannot_be_made_out_asks_for_everything(header: str) -> None:
    assert parse_range(header, 10) is None


def test_a_number_of_a_thousand_digits_is_not_even_read() -> None:
    assert parse_range(f"bytes={'9' * 5000}-", 10) is None
