"""The process that looks into sets: what it is told, and how it is bounded."""

import json
import sys
from pathlib import Path

import pytest

from service.ui.data_program import LookError, is_installed, run


def complaints_of(text: str, folder: Path, *, location: str = "/data", seconds: float = 60) -> str:
    """Run a program that stands for `python -m data_shards`."""
    program = (sys.executable, "-c", text)
    return run([], folder / "told", location, program=program, timeout_s=seconds)


def test_what_it_prints_is_told_and_what_it_complains_of_is_returned(tmp_path: Path) -> None:
    says = "import sys; print('{}'); sys.exit('Error: /data is damaged')"
    assert complaints_of(says, tmp_path) == "/data is damaged"
    assert (tmp_path / "told").read_text() == "{}\n"


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("/data", {"PATH"}),
        ("s3:/data", {"PATH"}),
        ("s3://a/b", {"PATH", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}),
        ("gs://a/b", {"PATH", "GOOGLE_APPLICATION_CREDENTIALS"}),
        ("az://a/b", {"PATH", "AZURE_STORAGE_ACCOUNT_KEY"}),
    ],
)
def test_it_is_told_no_secret_that_it_does_not_need(
    tmp_path: Path, location: str, told: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (
        "ALEXNET_STORE_URL",
        "ALEXNET_TOKEN",
        "PGPASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_REGION",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "AZURE_STORAGE_ACCOUNT_KEY",
    )
    for name in names:
        monkeypatch.setenv(name, "secret")
    says = (
        "import json, os, sys\n"
        "known = [n for n in os.environ if n == 'PATH' or os.environ[n] == 'secret']\n"
        "sys.exit(json.dumps(known))"
    )
    words = complaints_of(says, tmp_path, location=location)
    assert set(json.loads(words)) & {*names, "PATH"} == told


def test_one_that_writes_too_much_cannot(tmp_path: Path) -> None:
    writes = f"open({str(tmp_path / 'large')!r}, 'wb').truncate(257 << 20)"
    assert "File too large" in complaints_of(writes, tmp_path)


def test_one_that_wants_too_much_memory_gets_none(tmp_path: Path) -> None:
    assert "MemoryError" in complaints_of("bytearray(1 << 40)", tmp_path)


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    waits = "import threading; threading.Event().wait()"
    with pytest.raises(LookError, match=r"took longer than 0\.5 s"):
        complaints_of(waits, tmp_path, seconds=0.5)


def test_where_one_of_its_packages_is_missing_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert is_installed()
    monkeypatch.setattr(
        "service.ui.data_program.find_spec", lambda name: None if name == "simplejpeg" else name
    )
    assert not is_installed()
