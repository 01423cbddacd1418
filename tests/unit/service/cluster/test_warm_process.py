"""What is known of a local Ray's warm process from outside."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.cluster.warm_process import code_sha256, deaths, fork_socket, launcher


def test_the_launcher_is_an_ordinary_python_where_no_warm_process_listens(tmp_path: Path) -> None:
    done = subprocess.run(
        [*launcher(), "-c", "print(6 * 7)"],
        env={"ALEXNET_FORK_SERVER": fork_socket(str(tmp_path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "42\n"
    assert launcher()[0] == sys.executable


def test_a_digest_is_of_the_code_that_attempts_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "trainer" / "warm" / "launcher.py"
    monkeypatch.setattr("service.cluster.warm_process.launcher", lambda: [str(program)])
    program.parent.mkdir(parents=True)
    program.write_text("")
    digests = [code_sha256(), code_sha256()]
    assert digests[0] == digests[1]
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "other.py").write_text("")
    assert code_sha256() == digests[0]
    for package in ("trainer", "data_shards"):
        folder = tmp_path / package
        folder.mkdir(exist_ok=True)
        (folder / "new.py").write_text("")
        digests.append(code_sha256())
    assert len(set(digests)) == 3


def test_deaths_are_what_its_keeper_noted(tmp_path: Path) -> None:
    assert deaths(str(tmp_path)) == []
    Path(f"{fork_socket(str(tmp_path))}.ended").write_text("exit code 1\nexit code -9\n")
    assert deaths(str(tmp_path)) == ["exit code 1", "exit code -9"]
