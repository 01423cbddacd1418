import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from service.client.client import Client
from service.client.errors import ProblemError, ServiceUnreachableError
from service.control_plane import ControlPlane
from service.jobs.events import StatusChanged
from service.jobs.lifecycle import Decision
from service.views.jobs import Event, JobDetail, LiveProgress
from tests.unit.service.conftest import free_port, job_in, now, progress, report, serving
from tests.unit.service.stub_server import Answer, Request, StubServer
from tests.unit.service.terminal.test_tables import FIELDS
from trainer.contract.attempt import Outcome
from trainer.contract.events import Finished
from trainer.contract.status import Desired, Status


@pytest.fixture
def client(plane: ControlPlane) -> Iterator[Client]:
    with Client(plane.settings.advertised_url + "/") as client:
        yield client


DETAIL = JobDetail.model_validate(FIELDS | {"attempts": (), "worker_pids": (), "report": None})
ENDED = StatusChanged(before=Status.RUNNING, after=Status.SUCCEEDED)


FINISHED = Finished(outcome="succeeded", step=1)


def number_of(told: Event | LiveProgress) -> int | None:
    return told.number if isinstance(told, Event) else None


class Clock:
    """Stands still but for the pauses that are asked for, or those of a test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, pause_s: float) -> None:
        self.now += self.pauses.pop(0) if self.pauses else pause_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("jobs", "outage"):
        monkeypatch.setattr(f"service.client.{module}.time", clock)
    return clock


def end(plane: ControlPlane, job_id: str) -> None:
    done = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    plane.store.apply(plane.store.job(job_id), done, now())


def test_a_job_is_submitted_listed_shown_and_asked(
    client: Client, request_body: dict[str, Any]
) -> None:
    job = client.submit(request_body)
    assert job.status is Status.QUEUED
    assert not job.is_terminal
    assert job.id in {one.id for one in client.list(status=Status.QUEUED).jobs}
    assert client.get(job.id).attempts == ()
    assert client.pause(job.id).desired is Desired.PAUSE
    assert client.resume(job.id).desired is Desired.RUN
    edited = client.edit(job.id, priority=3, labels={"team": "vision"}).spec
    assert (edited.priority, edited.labels) == (3, {"team": "vision"})
    assert client.edit(job.id, labels={"team": None}).spec == edited.model_copy(
        update={"labels": {}}
    )
    assert client.cancel(job.id).desired is Desired.CANCEL
    assert client.checkpoints(job.id) == ()
    assert [event.number for event in client.events(job.id)] == [1, 2, 3]
    assert client.events(job.id, after=3) == ()
    assert not client.ready()


def test_pages_follow_the_cursor(client: Client, plane: ControlPlane) -> None:
    for number in range(3):
        job_in(plane.store, Status.FAILED, f"cursor{number}")
    first = client.list(status=Status.FAILED, limit=2)
    rest = client.list(status=Status.FAILED, limit=2, cursor=first.next_cursor)
    assert [job.id for job in first.jobs + rest.jobs] == ["cursor2", "cursor1", "cursor0"]


def test_a_refusal_is_told_with_every_field(client: Client, request_body: dict[str, Any]) -> None:
    request_body |= {"priority": 1000, "colour": "red"}
    with pytest.raises(ProblemError) as refused:
        client.submit(request_body)
    assert refused.value.problem.status == 422
    assert str(refused.value).splitlines() == [
        "the job cannot be accepted; nothing was stored",
        "  priority: Input should be less than or equal to 100",
        "  colour: there is no such field; remove it",
    ]


@pytest.mark.parametrize("job_id", ["unknown", "../metrics", "", "a b", "a?b"])
def test_an_id_is_never_a_path(client: Client, job_id: str) -> None:
    for ask in (client.get, client.cancel, client.checkpoints, client.events):
        with pytest.raises(ProblemError) as refused:
            ask(job_id)
        assert refused.value.problem.status == 404


def test_following_a_job_gives_every_event_once_until_its_end(
    client: Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.RUNNING, "followed")
    told = client.follow("followed")
    assert [number_of(next(told)) for _ in range(3)] == [1, 2, 3]
    report(plane.store, "followed", progress(1))
    live = next(told)
    assert isinstance(live, LiveProgress)
    assert (live.attempt, live.progress.step, live.progress.loss) == (1, 1, 1.5)
    report(plane.store, "followed", FINISHED)
    assert number_of(next(told)) == 4
    end(plane, "followed")
    assert [number_of(one) for one in told] == [5]
    # Whoever joins late is told how far the job came.
    assert [number_of(one) for one in client.follow("followed", after=4)] == [None, 5]
    assert list(client.follow("followed", after=5)) == []


@pytest.mark.slow
def test_a_stream_that_breaks_is_taken_up_where_it_broke(plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "broken")
    settings = plane.settings.model_copy(update={"port": free_port()})
    first = ControlPlane(settings, token=None)
    with Client(
        settings.advertised_url.replace(str(plane.settings.port), str(settings.port))
    ) as it:
        events = it.follow("broken")
        with serving(first):
            assert [number_of(next(events)) for _ in range(3)] == [1, 2, 3]
        first.stop()
        report(plane.store, "broken", FINISHED)
        end(plane, "broken")
        second = ControlPlane(settings, token=None)
        with serving(second):
            assert [number_of(one) for one in events] == [4, 5]
        second.stop()


def test_a_service_that_is_not_there_is_told_at_once() -> None:
    told = pytest.raises(ServiceUnreachableError, match="alexnet serve")
    with Client(f"http://127.0.0.1:{free_port()}") as client, told:
        next(client.follow("any"))


def stub_of(*streams: Answer) -> Callable[[Request], Answer]:
    """Give each stream in turn, then 503; whatever else is asked is answered too."""
    left = list(streams)

    def reply(request: Request) -> Answer:
        if request.headers["accept"] == "text/event-stream":
            return left.pop(0) if left else Answer(503)
        return Answer(200, DETAIL.model_dump_json().encode())

    return reply


@pytest.mark.slow
def test_an_outage_is_counted_from_its_beginning_however_quiet_it_was_before(
    clock: Clock,
) -> None:
    alive = Answer(200, b": keep-alive\n\n")
    with StubServer(stub_of(*[alive] * 10)) as stub, Client(stub.url) as client:
        # An hour passes between two looks; then the service says 503 for good.
        clock.pauses = [3600.0] * 10
        with pytest.raises(ProblemError, match="503"):
            next(client.follow("any"))
        unavailable = [one for one in stub.requests[20:] if "event-stream" in one.headers["accept"]]
    assert len(unavailable) == 122  # Every half second until more than 60 have gone by.


def test_a_quiet_service_that_answers_is_followed_on(clock: Clock) -> None:
    event = Event(number=1, at=now(), attempt=None, data=ENDED)
    told = Answer(200, b"data: " + event.model_dump_json().encode() + b"\n\n")
    streams = [Answer(503), Answer(502), Answer(200), Answer(504), told]
    clock.pauses = [59.0] * 4
    with StubServer(stub_of(*streams)) as stub, Client(stub.url) as client:
        assert list(client.follow("any")) == [event]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "[::1]", "example.org"])
def test_the_proxy_of_the_environment_is_for_other_hosts_alone(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with StubServer(lambda _: Answer(418)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        told = pytest.raises((ServiceUnreachableError, ProblemError))
        with Client(f"http://{host}:{free_port()}") as client, told as error:
            client.list()
    assert isinstance(error.value, ProblemError) is (host == "example.org")
    assert bool(proxy.requests) is (host == "example.org")


@pytest.mark.slow
def test_an_outage_that_lasts_is_told(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.outage.RECONNECT_FOR_S", 0.6)
    job_in(plane.store, Status.RUNNING, "outage")
    standby = ControlPlane(plane.settings.model_copy(update={"port": free_port()}), token=None)
    with serving(standby) as url:
        client = Client(url)
        events = client.follow("outage")
        first = next(events)
        assert isinstance(first, Event)
        assert first.number == 1
    standby.stop()
    with client, pytest.raises(ServiceUnreachableError, match="alexnet serve"):
        list(events)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://host", "http://[", "http://host:port", ""]
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(ServiceUnreachableError, match="--url"), Client(url) as client:
        client.list()


def test_an_answer_that_is_not_ours_is_told() -> None:
    wrong = [
        Answer(502, b"<html>Bad Gateway</html>"),
        Answer(200, b"<html>Welcome</html>"),
        Answer(200, b'{"jobs": 5}'),
        Answer(404, b"\xff"),
    ]
    with StubServer(lambda _: wrong.pop(0)) as stub, Client(stub.url) as client:
        for told in ("502", "not the answer of this service", "not the answer", "404"):
            with pytest.raises((ProblemError, ServiceUnreachableError), match=told):
                client.list()


def test_a_service_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.jobs.TIMEOUT", httpx.Timeout(0.2))
    release = threading.Event()

    def hang(_request: Any) -> Answer:
        release.wait(10)
        return Answer(200, b"{}")

    with StubServer(hang) as stub, Client(stub.url) as client:
        with pytest.raises(ServiceUnreachableError, match="timed out"):
            client.get("any")
        release.set()
