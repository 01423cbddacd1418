"""Where a token is found."""

from pathlib import Path

import pytest

from service.client.client import Client
from service.client.credentials import CredentialsError, find_token, token_file


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ALEXNET_TOKEN", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = token_file()
    assert file == tmp_path / "alexnet" / "token"
    file.parent.mkdir()
    return file


def write(file: Path, content: bytes, mode: int = 0o600) -> None:
    file.write_bytes(content)
    file.chmod(mode)


def test_the_variable_comes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_token() is None
    write(file, b" from-the-file\n")
    assert find_token() == "from-the-file"
    monkeypatch.setenv("ALEXNET_TOKEN", "from-the-variable\n")
    assert find_token() == "from-the-variable"
    monkeypatch.setenv("ALEXNET_TOKEN", "")
    assert find_token() == "from-the-file"


def test_without_xdg_it_is_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert token_file() == tmp_path / ".config" / "alexnet" / "token"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_is_refused(file: Path, mode: int) -> None:
    write(file, b"secret", mode)
    with pytest.raises(CredentialsError, match="chmod 600") as refused:
        find_token()
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    write(file, b"\xff\xfe")
    with pytest.raises(CredentialsError, match="cannot be read as a token"):
        find_token()
    file.unlink()
    file.mkdir()
    with pytest.raises(CredentialsError, match="cannot be read as a token"):
        find_token()


def test_an_empty_file_has_none(file: Path) -> None:
    write(file, b"\n")
    assert find_token() is None


def test_the_client_sends_what_it_is_given_or_finds(file: Path) -> None:
    write(file, b"found")
    for given, sent in ((None, "Bearer found"), ("given", "Bearer given"), ("", None)):
        with Client("http://127.0.0.1:9", token=given) as client:
            assert client._http.headers.get("Authorization") == sent
