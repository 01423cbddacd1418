import os
from pathlib import Path

import pytest

from service.run_files.confined import NoSuchFileError, list_files, open_file


@pytest.fixture
def run(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    run = tmp_path / "runs" / "a"
    attempt = run / "attempts" / "0001"
    (attempt / "ray").mkdir(parents=True)
    (run / "report.json").write_text("{}")
    (attempt / "driver.log").write_text("log")
    (attempt / "order.json").write_text("token")
    (attempt / ".order.json.7.partial").write_text("token")
    (attempt / "ray" / "state").write_text("pickle")
    (run / ".hidden").mkdir()
    (run / ".hidden" / "file").write_text("hidden")
    (run / "link").symlink_to(outside / "secret")
    (run / "folder").symlink_to(outside)
    (run / "inner").symlink_to(run / "report.json")
    os.mkfifo(run / "pipe")
    return run


def read(run: Path, path: str) -> str:
    with os.fdopen(open_file(run, path)) as file:
        return file.read()


def test_files_are_listed_and_opened(run: Path) -> None:
    assert [(one.path, one.size_bytes) for one in list_files(run)] == [
        ("attempts/0001/driver.log", 3),
        ("report.json", 2),
    ]
    assert read(run, "attempts/0001/driver.log") == "log"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        ".",
        "..",
        "../a/report.json",
        "attempts/../report.json",
        "attempts//0001/driver.log",
        "/etc/passwd",
        "report.json/",
        "report.json/x",
        "report.json\0",
        "none",
        "attempts",
        "attempts/0001/order.json",
        "attempts/0001/.order.json.7.partial",
        "attempts/0001/ray/state",
        ".hidden/file",
        "link",
        "folder/secret",
        "inner",
        "pipe",
        "x" * 300,
    ],
)
def test_what_leads_elsewhere_or_is_nobodys_business_is_not_there(run: Path, path: str) -> None:
    with pytest.raises(NoSuchFileError):
        open_file(run, path)


def test_a_run_directory_that_is_a_link_is_none(run: Path) -> None:
    link = run.with_name("b")
    link.symlink_to(run)
    with pytest.raises(NoSuchFileError):
        open_file(link, "report.json")
    assert list(list_files(run.with_name("c"))) == []


def test_nothing_stays_open(run: Path) -> None:
    def num_open() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = num_open()
    for path in ("none", "pipe", "link", "attempts/0001", "attempts/none/x"):
        with pytest.raises(NoSuchFileError):
            open_file(run, path)
    assert num_open() == before
