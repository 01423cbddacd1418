import json
from typing import Any

import pytest

from service.client.client import Client
from service.client.jobs import ProblemError, ServiceUnreachableError
from service.problems import Problem, ProblemType
from service.views.jobs import Job
from tests.unit.service.conftest import free_port
from tests.unit.service.stub_server import Answer, Request, StubServer
from tests.unit.service.terminal.test_tables import FIELDS

ACCEPTED = Answer(201, Job.model_validate(FIELDS).model_dump_json().encode())


class LostError(Exception):
    """The connection breaks off without an answer."""


def problem(kind: ProblemType) -> Answer:
    told = Problem(type=kind, title=kind.summary, status=kind.status, detail="told")
    return Answer(kind.status, told.model_dump_json().encode())


def stub_of(*answers: Answer | type[LostError]) -> StubServer:
    left = list(answers)

    def answer(_request: Request) -> Answer:
        given = left.pop(0)
        if isinstance(given, Answer):
            return given
        raise given

    return StubServer(answer)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.jobs.RECONNECT_PAUSE_S", 0.0)


@pytest.mark.parametrize(
    "before",
    [
        (LostError,),
        (LostError, LostError),
        (problem(ProblemType.KEY_IN_USE),),
        # It went down on the request, and comes up again.
        (LostError, problem(ProblemType.STANDBY), Answer(502)),
    ],
)
def test_a_submission_whose_answer_is_lost_is_sent_again_with_its_key(before: Any) -> None:
    with stub_of(*before, ACCEPTED) as stub, Client(stub.url) as client:
        assert client.submit({"name": "a job"}).id == FIELDS["id"]
        assert len(stub.requests) == len(before) + 1
        assert len({one.headers["idempotency-key"] for one in stub.requests}) == 1
        assert [json.loads(one.body) for one in stub.requests] == [{"name": "a job"}] * (
            len(before) + 1
        )


def test_each_submission_has_a_key_of_its_own_unless_it_is_given() -> None:
    with stub_of(ACCEPTED, ACCEPTED, ACCEPTED) as stub, Client(stub.url) as client:
        client.submit({})
        client.submit({})
        client.submit({}, idempotency_key="mine")
        first, second, third = (one.headers["idempotency-key"] for one in stub.requests)
    assert first != second
    assert third == "mine"


@pytest.mark.parametrize("kind", [ProblemType.STANDBY, ProblemType.SPEC_REFUSED])
def test_what_is_refused_from_the_start_is_told_at_once(kind: ProblemType) -> None:
    with stub_of(problem(kind)) as stub, Client(stub.url) as client:
        with pytest.raises(ProblemError):
            client.submit({})
        assert len(stub.requests) == 1


def test_a_service_that_is_not_there_is_told_at_once() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url) as client, pytest.raises(ServiceUnreachableError):
        client.submit({})


def test_one_that_stays_away_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.jobs.RECONNECT_FOR_S", 0.0)
    with (
        stub_of(LostError, LostError, LostError) as stub,
        Client(stub.url) as client,
        pytest.raises(ServiceUnreachableError),
    ):
        client.submit({})
