import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from tests.unit.trainer.runs import SPEC
from trainer.attempt import reporter as module
from trainer.attempt.reporter import MovedError, Reporter, post_to
from trainer.contract.attempt import AttemptOrder
from trainer.contract.events import AttemptEvent, EventBatch, EventReply, Finished
from trainer.contract.order_file import replace_order, write_order
from trainer.contract.problem import ATTEMPT_DISOWNED, PROBLEM_MEDIA_TYPE
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.status import Desired


def _event(step: int) -> Finished:
    return Finished(outcome="paused", step=step)


def _wait_until(what: str, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.005)


@pytest.fixture(autouse=True)
def quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HEARTBEAT_S", 0.01)


class ControlPlane:
    """Stores events as the real one does: without a gap, each number once."""

    def __init__(self) -> None:
        self.stored: list[AttemptEvent] = []
        self.received: list[int] = []
        self.desired = Desired.RUN
        self.answer: Callable[[], EventReply | None] | None = None

    def post(self, batch: EventBatch) -> EventReply | None:
        self.received += [event.number for event in batch.events]
        if self.answer is not None:
            return self.answer()
        for event in batch.events:
            if event.number == len(self.stored) + 1:
                self.stored.append(event)
        return EventReply(stored_through=len(self.stored), desired=self.desired)


def _spooled(spool: Path) -> list[AttemptEvent]:
    return [AttemptEvent.model_validate_json(line) for line in spool.read_text().splitlines()]


def test_events_are_numbered_spooled_sent_and_watched(tmp_path: Path) -> None:
    control_plane, watched = ControlPlane(), list[Any]()
    with Reporter(tmp_path / "spool", post=control_plane.post, watch=watched.append) as reporter:
        for step in range(450):
            reporter.emit(_event(step))
    spooled = _spooled(tmp_path / "spool")
    assert [event.number for event in spooled] == list(range(1, 451))
    assert control_plane.stored == spooled
    assert [event.step for event in watched] == list(range(450))


def test_an_event_is_in_the_spool_before_anybody_hears_of_it(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    numbers: list[int] = []
    with Reporter(
        spool, post=None, watch=lambda _: numbers.append(len(_spooled(spool)))
    ) as reporter:
        for step in range(3):
            reporter.emit(_event(step))
    assert numbers == [1, 2, 3]


def test_numbers_have_no_gap_whoever_emits(tmp_path: Path) -> None:
    with Reporter(tmp_path / "spool", post=None) as reporter:

        def emit() -> None:
            for _ in range(50):
                reporter.emit(_event(0))

        threads = [threading.Thread(target=emit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    numbers = [event.number for event in _spooled(tmp_path / "spool")]
    assert numbers == list(range(1, 201))


def test_what_failed_is_sent_again_until_it_is_stored(tmp_path: Path) -> None:
    control_plane, failures = ControlPlane(), iter(range(3))

    def answer() -> EventReply | None:
        if next(failures, None) is None:
            control_plane.answer = None
        raise httpx.ConnectError("refused")

    control_plane.answer = answer
    with Reporter(tmp_path / "spool", post=control_plane.post) as reporter:
        reporter.emit(_event(7))
        _wait_until("the event is stored", lambda: len(control_plane.stored) == 1)
    assert control_plane.received.count(1) >= 4


def test_what_was_received_but_not_stored_is_sent_again(tmp_path: Path) -> None:
    control_plane = ControlPlane()
    control_plane.answer = lambda: EventReply(stored_through=0, desired=Desired.RUN)
    with Reporter(tmp_path / "spool", post=control_plane.post) as reporter:
        reporter.emit(_event(1))
        _wait_until("the event was received twice", lambda: control_plane.received.count(1) > 1)
        control_plane.answer = None
        _wait_until("the event is stored", lambda: len(control_plane.stored) == 1)


def test_a_control_plane_that_lost_what_it_stored_gets_it_again(tmp_path: Path) -> None:
    control_plane = ControlPlane()
    with Reporter(tmp_path / "spool", post=control_plane.post) as reporter:
        for step in range(450):
            reporter.emit(_event(step))
        _wait_until("all is stored", lambda: len(control_plane.stored) == 450)
        control_plane.stored.clear()
        _wait_until("all is stored again", lambda: len(control_plane.stored) == 450)
    assert control_plane.stored == _spooled(tmp_path / "spool")


def test_training_does_not_wait_for_a_control_plane_that_hangs(tmp_path: Path) -> None:
    hangs = threading.Event()

    def post(_batch: EventBatch) -> EventReply | None:
        hangs.wait(60)
        return None

    with Reporter(tmp_path / "spool", post=post, flush_timeout_s=0.05) as reporter:
        begun = time.monotonic()
        for step in range(100):
            reporter.emit(_event(step))
    assert time.monotonic() - begun < 5
    hangs.set()
    assert len(_spooled(tmp_path / "spool")) == 100


class Hanging:
    """Takes the first post and answers it only when told to, which no later one needs."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.num_stored = 0
        self.taken, self.answer, self.over = threading.Event(), threading.Event(), threading.Event()

    def post(self, batch: EventBatch) -> EventReply | None:
        self.did.append(f"post {len(batch.events)}")
        self.taken.set()
        assert self.answer.wait(60)
        self.num_stored += len(batch.events)
        return EventReply(stored_through=self.num_stored, desired=Desired.RUN)

    def end(self) -> None:
        self.did.append("end")
        self.over.set()


def test_nothing_is_posted_after_the_time_there_was_since_closing(tmp_path: Path) -> None:
    hanging = Hanging()
    spool = tmp_path / "spool"
    with Reporter(
        spool, post=hanging.post, on_last_post=hanging.end, flush_timeout_s=0.05
    ) as reporter:
        assert hanging.taken.wait(60)
        reporter.emit(_event(1))
    # The post in flight has outlasted the time; what came after it stays in the spool.
    assert hanging.did == ["post 0"]
    hanging.answer.set()
    assert hanging.over.wait(60)
    assert hanging.did == ["post 0", "end"]
    assert len(_spooled(spool)) == 1


def test_within_that_time_what_a_post_in_flight_lacks_is_sent(tmp_path: Path) -> None:
    hanging = Hanging()
    with Reporter(
        tmp_path / "spool", post=hanging.post, on_last_post=hanging.end, flush_timeout_s=10
    ) as reporter:
        assert hanging.taken.wait(60)
        reporter.emit(_event(1))
        hanging.answer.set()
    assert hanging.did[-1] == "end"
    assert hanging.did.count("post 1") == 1


def test_an_outage_to_the_end_leaves_all_in_the_spool(tmp_path: Path) -> None:
    def refuse(_batch: EventBatch) -> EventReply | None:
        raise httpx.ConnectError("refused")

    with Reporter(tmp_path / "spool", post=refuse, flush_timeout_s=0.2) as reporter:
        reporter.emit(_event(3))
    assert [event.data for event in _spooled(tmp_path / "spool")] == [_event(3)]
    assert not reporter.disowned


def test_the_reply_carries_what_is_wanted_even_without_events(tmp_path: Path) -> None:
    control_plane = ControlPlane()
    with Reporter(tmp_path / "spool", post=control_plane.post) as reporter:
        assert reporter.desired is Desired.RUN
        control_plane.desired = Desired.PAUSE
        _wait_until("the pause arrives", lambda: reporter.desired is Desired.PAUSE)


def test_a_disowned_attempt_knows_and_says_no_more(tmp_path: Path) -> None:
    control_plane = ControlPlane()
    control_plane.answer = lambda: None
    with Reporter(tmp_path / "spool", post=control_plane.post) as reporter:
        reporter.emit(_event(1))
        _wait_until("it is disowned", lambda: reporter.disowned)
        received = len(control_plane.received)
        reporter.emit(_event(2))
    assert len(control_plane.received) == received


OLD, NEW = "http://127.0.0.1:9/", "http://127.0.0.1:10"
REPLY = {"stored_through": 0, "desired": "pause"}


def _order(url: str = OLD) -> AttemptOrder:
    return AttemptOrder(
        job_id="job-1",
        attempt=3,
        spec=SPEC,
        accelerator="cpu",
        resume_from=None,
        control_plane_url=url,
        token="secret",
    )


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    attempt = RunDirectory(tmp_path).attempt(3)
    write_order(attempt, _order())
    return attempt


class Network:
    """Who answers at which port, and who was asked."""

    def __init__(self) -> None:
        self.answers: dict[int | None, httpx.Response] = {}
        self.requests: list[httpx.Request] = []

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self._answer))

    def ports(self) -> list[int | None]:
        return [request.url.port for request in self.requests]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.port not in self.answers:
            raise httpx.ConnectError("refused")
        return self.answers[request.url.port]


def _disowning(status: int) -> httpx.Response:
    # As service.api.errors writes it.
    content = json.dumps({"type": ATTEMPT_DISOWNED, "status": status}).encode()
    return httpx.Response(status, content=content, headers={"Content-Type": PROBLEM_MEDIA_TYPE})


def _post(attempt: AttemptDirectory, network: Network) -> EventReply | None:
    with network.client() as client:
        return post_to(_order(), attempt, client)(EventBatch(events=()))


def test_a_post_goes_to_the_attempt_with_its_token(attempt: AttemptDirectory) -> None:
    network = Network()
    network.answers[9] = httpx.Response(200, json={"stored_through": 4, "desired": "cancel"})
    reply = _post(attempt, network)
    assert reply == EventReply(stored_through=4, desired=Desired.CANCEL)
    (request,) = network.requests
    assert str(request.url) == "http://127.0.0.1:9/jobs/job-1/attempts/3/events"
    assert request.headers["authorization"] == "Bearer secret"
    assert json.loads(request.content) == {"events": []}


@pytest.mark.parametrize("status", [403, 404, 409])
def test_a_refusal_that_says_so_disowns(attempt: AttemptDirectory, status: int) -> None:
    network = Network()
    network.answers[9] = _disowning(status)
    assert _post(attempt, network) is None


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422, 500, 503])
@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("text/html", "<h1>Not Found</h1>"),
        ("application/json", json.dumps({"type": ATTEMPT_DISOWNED})),
        (PROBLEM_MEDIA_TYPE, json.dumps({"type": "about:blank", "status": 403})),
        (PROBLEM_MEDIA_TYPE, json.dumps([ATTEMPT_DISOWNED])),
        (PROBLEM_MEDIA_TYPE, "{"),
    ],
)
def test_whoever_else_answers_at_the_address_is_not_believed(
    attempt: AttemptDirectory, status: int, media_type: str, body: str
) -> None:
    network = Network()
    network.answers[9] = httpx.Response(
        status, content=body.encode(), headers={"Content-Type": media_type}
    )
    with pytest.raises(httpx.HTTPStatusError):
        _post(attempt, network)


def test_a_page_that_is_no_reply_is_to_be_tried_again(attempt: AttemptDirectory) -> None:
    network = Network()
    network.answers[9] = httpx.Response(200, text="<h1>Welcome</h1>")
    with pytest.raises(ValidationError):
        _post(attempt, network)


@pytest.mark.parametrize("old", [None, 404, 409])
def test_a_control_plane_that_took_over_elsewhere_is_found_and_its_pause_heard(
    attempt: AttemptDirectory, tmp_path: Path, old: int | None
) -> None:
    network = Network()
    if old is not None:
        network.answers[9] = _disowning(old) if old == 409 else httpx.Response(old)
    network.answers[10] = httpx.Response(200, json=REPLY)
    with network.client() as client:
        post = post_to(_order(), attempt, client)
        replace_order(attempt, _order(NEW))
        with Reporter(tmp_path / "spool", post=post) as reporter:
            _wait_until("the pause arrives", lambda: reporter.desired is Desired.PAUSE)
            assert not reporter.disowned
    assert network.ports()[:2] == [9, 10]
    # There it stays.
    assert set(network.ports()[1:]) == {10}
    assert network.requests[1].headers["authorization"] == "Bearer secret"


def test_the_one_that_took_over_may_disown_it(attempt: AttemptDirectory) -> None:
    network = Network()
    network.answers = {9: _disowning(403), 10: _disowning(409)}
    replace_order(attempt, _order(NEW))
    with network.client() as client:
        post = post_to(_order(), attempt, client)
        with pytest.raises(MovedError, match=f"the control plane is at {NEW}"):
            post(EventBatch(events=()))
        assert post(EventBatch(events=())) is None
    assert network.ports() == [9, 10]


@pytest.mark.parametrize("damage", ["removed", "torn", "folder"])
def test_an_order_that_cannot_be_read_again_is_the_one_that_was_read(
    attempt: AttemptDirectory, damage: str
) -> None:
    attempt.order.unlink()
    if damage == "torn":
        attempt.order.write_text("{")
    elif damage == "folder":
        attempt.order.mkdir()
    network = Network()
    with network.client() as client:
        post = post_to(_order(), attempt, client)
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                post(EventBatch(events=()))
        network.answers[9] = httpx.Response(200, json=REPLY)
        assert post(EventBatch(events=())) is not None
    assert network.ports() == [9, 9, 9]
