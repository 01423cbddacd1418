import errno
import os
import stat
from pathlib import Path

import pytest

from trainer.contract.durable import DiskFullError, naming_a_full_disk, write_whole


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    write_whole(file, b"before")

    def die(_descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(OSError, match="disk full"):
        write_whole(file, b"after")
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_has_its_mode_even_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a process of this number left when it died, for all to read.
    (tmp_path / f".file.{os.getpid()}.partial").write_bytes(b"half")
    seen = []

    def sync(descriptor: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))

    monkeypatch.setattr(os, "fsync", sync)
    write_whole(tmp_path / "file", b"secret", mode=0o600)
    assert seen[0] == 0o600
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_no_fuller_than_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fill(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fill)
    file = tmp_path / "file"
    with pytest.raises(DiskFullError) as error:
        write_whole(file, b"content")
    assert str(error.value) == (
        f"{file} cannot be written: {os.strerror(code)}; free space there, then resume"
    )
    assert error.value.errno == code
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_not_full_is_not_called_so(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), naming_a_full_disk(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_the_innermost_path_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFullError, match="inner"),
        naming_a_full_disk(tmp_path / "outer"),
        naming_a_full_disk(tmp_path / "inner"),
    ):
        raise OSError(errno.ENOSPC, "full")
