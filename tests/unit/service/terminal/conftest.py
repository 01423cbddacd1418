from collections.abc import Callable

import pytest

from service.control_plane import ControlPlane
from service.terminal.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def alexnet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in this process; give exit code, output and errors."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        assert isinstance(end.value.code, int | None)
        return end.value.code or 0, told.out, told.err

    return run


@pytest.fixture
def service(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> ControlPlane:
    monkeypatch.setenv("ALEXNET_URL", plane.settings.advertised_url)
    return plane
