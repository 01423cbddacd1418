import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cluster import ray_log
from service.cluster.ray_log import LOG_CHARACTERS, end_of_log


def in_chunks(body: bytes, size: int = 7) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def answer(printed: object) -> bytes:
    return json.dumps({"logs": printed}).encode()


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("one\ntwo", "one\ntwo"),
        ("", ""),
        (None, ""),
        ("Running entrypoint for job a-1: python -m trainer\n", ""),
        ("Running entrypoint for job a-1: x\nsh: x: not found\n", "sh: x: not found"),
    ],
)
def test_it_is_told_without_the_command(printed: object, told: str) -> None:
    assert end_of_log(in_chunks(answer(printed))) == told


@given(st.text(st.sampled_from('ab\\"{}é\U0001f600'), min_size=150), st.booleans())
def test_of_much_the_end_is_kept_wherever_it_is_cut(printed: str, as_ascii: bool) -> None:
    body = json.dumps({"logs": printed}, ensure_ascii=as_ascii).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_log, "_LOG_BYTES", 100)
        told = end_of_log(in_chunks(body))
    # Of what was cut through at most one character is left, as the text of its escape.
    assert printed.endswith(told[12:])
    assert len(told) < 100


def test_of_much_no_more_is_kept_than_is_asked_for() -> None:
    told = end_of_log(in_chunks(answer("a" + "z" * 3 * LOG_CHARACTERS), 1 << 16))
    assert told == "z" * LOG_CHARACTERS


@pytest.mark.parametrize("body", [b"<html>a proxy's page</html>", b"[]", b"{}", b""])
def test_what_is_no_log_is_none(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        end_of_log([body])
