import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.contract.log_cut import NOTICE_BYTES, notice, told_bytes


@given(gone=st.integers(1, 1 << 60), at_least=st.booleans(), before=st.binary(max_size=50))
def test_a_line_of_one_length_tells_how_much_is_gone(
    gone: int, at_least: bool, before: bytes
) -> None:
    said = notice(gone, at_least=at_least)
    assert len(said) == NOTICE_BYTES
    assert said.count(b"\n") == 2
    assert told_bytes(before + said + b"more\n") == gone


def test_a_log_that_was_not_cut_tells_of_nothing_gone() -> None:
    assert told_bytes(b"--- many bytes\n--- 7 bytes were printed\n") == 0


@pytest.mark.parametrize("count", [",", ",,", "1,2", "1,0000", "9" * 5_000, "1" + ",000" * 7])
def test_a_line_that_only_looks_like_it_tells_of_nothing(count: str) -> None:
    line = f"\n--- {count} bytes that were printed here are cut out ---\n"
    assert told_bytes(line.encode()) == 0
