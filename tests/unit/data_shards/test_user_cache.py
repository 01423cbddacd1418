import os
import subprocess
import sys
from pathlib import Path

from data_shards.user_cache import KERNELS_VARIABLE, cache_folder, kernels_folder

# Prints where it keeps kernels, twice asked, and ends.
PROCESS = """
from data_shards.user_cache import kernels_folder
print(kernels_folder(), kernels_folder())
"""


def folders_of_a_process(tmp_path: Path, **environment: str) -> list[str]:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-c", PROCESS],
        env={
            **os.environ,
            # Nobody may make a folder below a file.
            "XDG_CACHE_HOME": str(tmp_path / "file"),
            "TMPDIR": str(tmp_path),
            KERNELS_VARIABLE: "",
            **environment,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_without_a_cache_a_process_has_one_folder_and_removes_it(tmp_path):
    first, second = folders_of_a_process(tmp_path)
    assert first == second
    assert Path(first).parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_was_told_is_taken_and_left(tmp_path):
    told = tmp_path / "told"
    told.mkdir()
    assert folders_of_a_process(tmp_path, **{KERNELS_VARIABLE: str(told)}) == [str(told)] * 2
    assert told.is_dir()


def test_a_folder_that_is_gone_or_not_absolute_is_not_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for told in (str(tmp_path / "gone"), ".", ""):
        monkeypatch.setenv(KERNELS_VARIABLE, told)
        assert kernels_folder() == cache_folder("kernels")
