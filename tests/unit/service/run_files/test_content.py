from pathlib import Path

import pytest

from service.run_files.content import FileContent


def content(run: Path, *, grows: bool) -> FileContent:
    return FileContent(run, "file", grows=grows)


def test_what_grows_begins_with_what_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one\n")
    before = content(tmp_path, grows=True)
    with file.open("ab") as more:
        more.write(b"two\n")
    after = content(tmp_path, grows=True)
    assert (before.size_bytes, before.read(0, 4)) == (4, b"one\n")
    assert after.etag != before.etag
    assert after.begins_with(before.etag)
    assert not before.begins_with(after.etag)
    other = tmp_path / "other"
    other.write_bytes(b"three\nfour\n")
    other.rename(file)
    assert not content(tmp_path, grows=True).begins_with(after.etag)
    for etag in ("", '"', '"nothing"', '"-"', "W/" + after.etag):
        assert not after.begins_with(etag)


def test_what_is_written_anew_does_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one\n")
    before = content(tmp_path, grows=False)
    assert content(tmp_path, grows=False).begins_with(before.etag)
    (tmp_path / "file").write_bytes(b"two\ntwo\n")
    assert not content(tmp_path, grows=False).begins_with(before.etag)


def test_a_file_that_is_cut_short_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10))
    opened = content(tmp_path, grows=True)
    (tmp_path / "file").write_bytes(bytes(5))
    with pytest.raises(OSError, match="cut short at byte 5"):
        opened.read(2, 10)
    opened.close()
