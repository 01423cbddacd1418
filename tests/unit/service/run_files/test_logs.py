from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.run_files import logs
from service.run_files.logs import Place, read_piece, tail_of, tail_start, whole
from trainer.contract.log_cut import notice
from trainer.contract.run_directory import RunDirectory


def write(run: Path, attempt: int, content: bytes) -> None:
    log = RunDirectory(run).attempt(attempt).log
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(content)


texts = st.lists(st.sampled_from(["a", "é", "\n", "🙂", "bc"]), max_size=60).map("".join)


@given(text=texts, num_lines=st.integers(0, 20), block=st.integers(1, 9))
def test_a_tail_is_the_last_lines(text: str, num_lines: int, block: int) -> None:
    content = text.encode()
    lines = content.splitlines(keepends=True)
    expected = b"".join(lines[max(len(lines) - num_lines, 0) :])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "BLOCK_BYTES", block)
        start, found = tail_start(lambda a, b: content[a:b], len(content), num_lines)
    assert content[start:] == expected
    assert found == min(num_lines, len(lines))


@given(text=texts, block=st.integers(4, 9))
def test_a_block_gives_whole_lines_or_whole_characters(text: str, block: int) -> None:
    content = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "BLOCK_BYTES", block)
        part = content[:block]
        length = whole(part, is_end=False)
        assert whole(part, is_end=True) == len(part)
    given_away = part[:length].decode()
    if b"\n" in part:
        assert given_away.endswith("\n")
        assert "\n" not in part[length:].decode(errors="replace")
    elif len(part) < block:
        assert length == 0
    else:
        assert block - length < 4


def test_bytes_that_are_no_text_hold_nothing_up() -> None:
    assert whole(b"\xff" * logs.BLOCK_BYTES, is_end=False) == logs.BLOCK_BYTES


def test_a_log_is_read_piece_by_piece_as_it_grows(tmp_path: Path) -> None:
    place = Place(1, 0)
    assert read_piece(tmp_path, place, is_over=False) is None
    write(tmp_path, 1, b"one\ntw")
    first = read_piece(tmp_path, place, is_over=False)
    assert first is not None
    assert (first.text, str(first.following)) == ("one\n", "1:4")
    assert read_piece(tmp_path, first.following, is_over=False) is None
    write(tmp_path, 1, b"o\xff\nthree")
    second = read_piece(tmp_path, Place.parse("1:4"), is_over=False)
    assert second is not None
    assert second.text == "two�\n"
    last = read_piece(tmp_path, second.following, is_over=True)
    assert last is not None
    assert last.content == b"three"
    assert read_piece(tmp_path, last.following, is_over=True) is None
    assert read_piece(tmp_path, Place(1, 1000), is_over=True) is None
    RunDirectory(tmp_path).attempt(1).log.unlink()
    with pytest.raises(FileNotFoundError, match="the log of attempt 1 is gone"):
        read_piece(tmp_path, last.following, is_over=False)


def test_a_tail_reaches_over_attempts(tmp_path: Path) -> None:
    write(tmp_path, 1, b"one\ntwo\n")
    write(tmp_path, 3, b"three\nfour\n")
    places = [tail_of(tmp_path, [1, 2, 3], lines) for lines in range(6)]
    assert [str(place) for place in places] == ["3:11", "3:6", "3:0", "1:4", "1:0", "1:0"]


def test_a_place_behind_the_end_of_a_log_that_was_cut_is_given_what_follows_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 200)
    begun, end = b"x" * 99 + b"\n", notice(7, at_least=False) + b"one\ntwo\n"
    write(tmp_path, 1, begun + end)
    piece = read_piece(tmp_path, Place(1, 4000), is_over=False)
    assert piece is not None
    assert (piece.place, piece.content) == (Place(1, 100), end)
    assert read_piece(tmp_path, piece.following, is_over=True) is None
    # A log that was not cut has nothing there yet.
    write(tmp_path, 2, begun)
    assert read_piece(tmp_path, Place(2, 4000), is_over=False) is None
