import json
from typing import Any

import pytest

from service.client.arguments import WrongArgumentError
from service.client.client import Client
from service.client.errors import ProblemError, ServiceUnreachableError, SubmissionLostError
from service.problems import Problem, ProblemType
from service.views.jobs import Job
from tests.unit.service.conftest import free_port
from tests.unit.service.stub_server import Answer, Request, StubServer
from tests.unit.service.terminal.test_tables import FIELDS

ACCEPTED = Answer(201, Job.model_validate(FIELDS).model_dump_json().encode())


class LostError(Exception):
    """The connection breaks off without an answer."""


PROXY = b"<html>what a proxy says of itself</html>"


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
    monkeypatch.setattr("service.client.outage.RECONNECT_PAUSE_S", 0.0)


@pytest.mark.parametrize(
    "before",
    [
        (LostError,),
        (LostError, LostError),
        (problem(ProblemType.KEY_IN_USE),),
        # It went down on the request, and comes up again.
        (LostError, problem(ProblemType.STANDBY), Answer(502)),
        # It may have died, or lost its store, after the commit and before its answer.
        (Answer(502, PROXY),),
        (Answer(503, PROXY),),
        (Answer(504, PROXY),),
        (problem(ProblemType.STORE_UNAVAILABLE),),
        (Answer(502, PROXY), problem(ProblemType.TOO_MANY_REQUESTS), problem(ProblemType.STANDBY)),
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


@pytest.mark.parametrize(
    "kind",
    [
        ProblemType.STANDBY,
        ProblemType.SPEC_REFUSED,
        ProblemType.DISK_UNAVAILABLE,
        ProblemType.FAILED,
        ProblemType.TOO_MANY_REQUESTS,
    ],
)
def test_what_is_refused_from_the_start_is_told_at_once(kind: ProblemType) -> None:
    with stub_of(problem(kind)) as stub, Client(stub.url) as client:
        with pytest.raises(ProblemError):
            client.submit({})
        assert len(stub.requests) == 1


def test_a_service_that_is_not_there_is_told_at_once() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url) as client, pytest.raises(ServiceUnreachableError):
        client.submit({})


@pytest.mark.parametrize(
    "answer",
    [
        LostError,
        Answer(502, PROXY),
        problem(ProblemType.STORE_UNAVAILABLE),
        problem(ProblemType.KEY_IN_USE),
    ],
)
def test_one_that_stays_away_is_told_in_the_end_with_the_key(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.client.outage.RECONNECT_FOR_S", 0.0)
    with (
        stub_of(answer, answer, answer) as stub,
        Client(stub.url) as client,
        pytest.raises(SubmissionLostError) as lost,
    ):
        client.submit({})
    key = stub.requests[0].headers["idempotency-key"]
    assert lost.value.idempotency_key == key
    assert str(lost.value).endswith(f"--idempotency-key {key}")


def test_a_refusal_of_what_was_lost_is_told_as_it_is() -> None:
    refused = problem(ProblemType.SPEC_REFUSED)
    with stub_of(LostError, refused) as stub, Client(stub.url) as client:
        with pytest.raises(ProblemError):
            client.submit({})
        assert len(stub.requests) == 2


@pytest.mark.parametrize("key", ["", "two words", "line\n", "schl\u00fcssel"])
def test_a_key_that_cannot_be_sent_is_told_beforehand(key: str) -> None:
    with stub_of() as stub, Client(stub.url) as client:
        with pytest.raises(WrongArgumentError, match="visible ASCII"):
            client.submit({}, idempotency_key=key)
        assert stub.requests == []
