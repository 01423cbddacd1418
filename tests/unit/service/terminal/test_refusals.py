import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.client.errors import NotEndedError, ServiceUnreachableError
from service.control_plane import ControlPlane
from service.errors import UserError
from service.problems import ProblemType
from service.terminal.exit_codes import ExitCode
from service.terminal.refusals import CommandProblem, json_line, wants_json
from tests.unit.service.conftest import free_port, job_in
from tests.unit.service.stub_server import Answer, StubServer
from tests.unit.service.terminal.conftest import Run
from trainer.contract.status import Status


def refused(alexnet: Run, *arguments: object) -> tuple[int, Any]:
    """Return the exit code and the one line of JSON that a command ends with."""
    code, out, err = alexnet(*arguments, "--json")
    assert out == ""
    (line,) = err.splitlines()
    return code, json.loads(line)


@pytest.mark.usefixtures("service")
def test_what_the_service_refuses_is_told_as_it_answers(alexnet: Run) -> None:
    arguments = ("submit", "--preset", "small", "--set", "optim.colour=red")
    code, told = refused(alexnet, *arguments)
    assert (code, told["type"], told["status"]) == (2, ProblemType.SPEC_REFUSED, 422)
    assert [one["field"] for one in told["errors"]] == ["data", "optim.colour"]
    # The service is not asked of what is no id; the type is the same.
    for job_id in ("unknown", "../metrics"):
        code, told = refused(alexnet, "show", job_id)
        assert (code, told["type"], told["status"]) == (2, ProblemType.NO_SUCH_JOB, 404)


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("arguments", "detail"),
    [
        ("nope", "No such command 'nope'."),
        ("ls --bogus", "No such option: --bogus"),
        ("ls --status DONE", "'DONE' is not one of"),
        ("show", "Missing argument 'JOB'."),
        ("submit /nonexistent.json", "/nonexistent.json cannot be read as JSON"),
        ("submit --idempotency-key a\u2028b", "visible ASCII"),
        ("stop", "No such option: --json"),
    ],
)
def test_a_wrong_command_is_told_alike(alexnet: Run, arguments: str, detail: str) -> None:
    code, told = refused(alexnet, *arguments.split(" "))
    assert code == ExitCode.REFUSED
    assert detail in told.pop("detail")
    kind = CommandProblem.WRONG_USE
    assert told == {"type": kind, "title": kind.summary, "errors": []}


def test_what_the_service_does_not_answer_is_told_alike(
    alexnet: Run, service: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.client.outage.RECONNECT_FOR_S", 0.0)
    monkeypatch.setattr("service.client.outage.RECONNECT_PAUSE_S", 0.001)
    job_in(service.store, Status.RUNNING, "slow")
    code, told = refused(alexnet, "wait", "slow", "--timeout", "0")
    assert (code, told["type"]) == (ExitCode.NOT_ENDED, CommandProblem.NOT_ENDED)
    url = f"http://127.0.0.1:{free_port()}"
    code, told = refused(alexnet, "ls", "--url", url)
    assert (code, told["type"]) == (ExitCode.NO_SERVICE, CommandProblem.SERVICE_UNREACHABLE)
    with StubServer(lambda _: Answer(502)) as proxy:
        code, told = refused(alexnet, "ls", "--url", proxy.url)
        assert (code, told["type"], told["status"]) == (2, "about:blank", 502)
        options = ("--url", proxy.url, "--idempotency-key", "mine")
        code, told = refused(alexnet, "submit", *options)
        assert (code, told["type"]) == (ExitCode.NO_SERVICE, CommandProblem.SUBMISSION_LOST)
        assert told["idempotency_key"] == "mine"


def test_a_full_disk_is_told_alike(service: ControlPlane) -> None:
    command = [sys.executable, "-m", "service", "ls", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == ExitCode.NOT_WRITTEN
    assert json.loads(done.stderr)["type"] == CommandProblem.NOT_WRITTEN


def test_json_is_asked_for_by_an_option() -> None:
    assert wants_json(["show", "job", "--json"])
    assert not wants_json(["show", "--", "--json"])
    assert not wants_json(["submit", "--name", "json"])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UserError("a\x1b[2J\nb"), CommandProblem.WRONG_USE),
        (ServiceUnreachableError("a"), CommandProblem.SERVICE_UNREACHABLE),
        (NotEndedError("a"), CommandProblem.NOT_ENDED),
    ],
)
def test_a_problem_is_one_line_without_control_characters(
    error: Exception, kind: CommandProblem
) -> None:
    line = json_line(error, str(error))
    assert line.isprintable()
    assert json.loads(line)["detail"] == str(error)
    assert json.loads(line)["type"] == kind
