import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from service.terminal.exit_codes import ExitCode
from tests.unit.service.stub_server import Answer, StubServer
from tests.unit.service.terminal.conftest import Run


@pytest.fixture
def spec(tmp_path: Path, request_body: dict[str, Any]) -> Path:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(request_body))
    return file


def repeated_by(err: str) -> list[str]:
    """Return the option that a lost submission is to be repeated with."""
    (line,) = err.splitlines()
    assert "whether the job was submitted is not known" in line
    return shlex.split(line[line.index("--idempotency-key") :])


@pytest.mark.usefixtures("service")
def test_what_is_submitted_again_with_its_key_is_one_job(alexnet: Run, spec: Path) -> None:
    def submitted(*arguments: object) -> Any:
        code, out, _ = alexnet(*arguments, "--json")
        assert code == 0
        return json.loads(out)["id"]

    first = submitted("submit", spec, "--idempotency-key", "once")
    assert submitted("submit", spec, "--idempotency-key", "once") == first
    assert submitted("submit", spec) != first
    clone = submitted("clone", first, "--idempotency-key", "twice")
    assert submitted("clone", first, "--idempotency-key", "twice") == clone != first
    code, out, err = alexnet("submit", spec, "--set", "seed=9", "--idempotency-key", "once")
    assert (code, out) == (ExitCode.REFUSED, "")
    assert "use a new key for a new job" in err
    assert alexnet("submit", spec, "--idempotency-key", "")[0] == ExitCode.REFUSED


@pytest.mark.parametrize("command", ["submit", "clone 0123456789ab"])
def test_a_lost_submission_is_told_with_its_key(
    alexnet: Run, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.client.outage.RECONNECT_FOR_S", 0.0)
    monkeypatch.setattr("service.client.outage.RECONNECT_PAUSE_S", 0.001)
    with StubServer(lambda _: Answer(502)) as stub:
        code, out, err = alexnet(*command.split(), "--url", stub.url)
    assert (code, out) == (ExitCode.NO_SERVICE, "")
    assert repeated_by(err)[1] == stub.requests[0].headers["idempotency-key"]


def test_a_submission_that_is_interrupted_is_told_with_its_key(
    alexnet: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []

    def interrupt(*_: object, headers: dict[str, str], **__: object) -> None:
        keys.append(headers["Idempotency-Key"])
        raise KeyboardInterrupt

    monkeypatch.setattr("service.client.jobs.JobClient._request", interrupt)
    code, out, err = alexnet("submit")
    assert (code, out) == (ExitCode.INTERRUPTED, "")
    assert repeated_by(err) == ["--idempotency-key", *keys]
    alexnet("submit", "--idempotency-key", "mine;1")
    assert keys[1] == "mine;1"
