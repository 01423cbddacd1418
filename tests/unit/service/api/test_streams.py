import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.store.errors import JobNotFoundError, NotWrittenError
from service.views.jobs import LiveProgress
from tests.unit.service.conftest import (
    free_port,
    job_in,
    now,
    progress,
    report,
    serving,
    wait_until,
)
from tests.waiting import ANSWERED_WITHIN_S
from trainer.contract.attempt import Outcome
from trainer.contract.events import SamplesSkipped
from trainer.contract.status import Status

STREAM = {"Accept": "text/event-stream"}


def frames(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Parse a stream as the HTML standard has it: fields, and an empty line after each event."""
    frame: dict[str, str] = {}
    for line in lines:
        if not line:
            if frame:
                yield frame
            frame = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            frame[name] = value.removeprefix(" ")


def streamed(http: httpx.Client, job_id: str, **headers: str) -> list[dict[str, str]]:
    with http.stream("GET", f"/jobs/{job_id}/events", headers=STREAM | headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-cache"
        return list(frames(answer.iter_lines()))


def numbered(seen: list[dict[str, str]]) -> list[dict[str, str]]:
    return [frame for frame in seen if "id" in frame]


def skipped(step: int) -> SamplesSkipped:
    return SamplesSkipped(step=step, samples=("a.tar:1",), reason="not a JPEG", total=1)


@pytest.fixture(scope="module")
def ended(plane: ControlPlane) -> str:
    """Give a job with 604 events, more than a page: 3 statuses, 600 reports, the end."""
    job_in(plane.store, Status.RUNNING, "ended")
    report(plane.store, "ended", *(skipped(step) for step in range(1, 601)), progress(600))
    done = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    plane.store.apply(plane.store.job("ended"), done, now())
    return "ended"


def test_the_stream_of_an_ended_job_is_all_of_it_in_order_and_ends(
    http: httpx.Client, ended: str
) -> None:
    seen = numbered(streamed(http, ended))
    assert [int(frame["id"]) for frame in seen] == list(range(1, 605))
    for frame in seen:
        event = json.loads(frame["data"])
        assert event["number"] == int(frame["id"])
        assert event["data"]["kind"] == frame["event"]
    assert json.loads(seen[0]["data"])["data"]["after"] == "QUEUED"
    assert json.loads(seen[-1]["data"])["data"]["after"] == "SUCCEEDED"


@pytest.mark.parametrize("last_id", [1, 3, 103, 104, 603, 604, 5000])
def test_a_stream_goes_on_after_the_last_event_id(
    http: httpx.Client, ended: str, last_id: int
) -> None:
    seen = numbered(streamed(http, ended, **{"Last-Event-ID": str(last_id)}))
    assert [int(frame["id"]) for frame in seen] == list(range(last_id + 1, 605))


def test_the_same_events_come_as_json_page_by_page(http: httpx.Client, ended: str) -> None:
    pages: list[list[dict[str, Any]]] = []
    last_id = 0
    while not pages or pages[-1]:
        headers = {"Accept": "application/json", "Last-Event-ID": str(last_id)}
        answer = http.get(f"/jobs/{ended}/events?limit=400", headers=headers).raise_for_status()
        pages.append(answer.json()["events"])
        last_id = pages[-1][-1]["number"] if pages[-1] else last_id
    assert [len(page) for page in pages] == [400, 204, 0]
    told = [json.loads(frame["data"]) for frame in numbered(streamed(http, ended))]
    assert [event for page in pages for event in page] == told


@pytest.mark.parametrize("last_id", ["-1", "three", "9223372036854775808"])
def test_a_last_event_id_that_is_none_is_refused(
    http: httpx.Client, ended: str, last_id: str
) -> None:
    answer = http.get(f"/jobs/{ended}/events", headers={"Last-Event-ID": last_id})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "header.last-event-id"


def test_a_live_stream_tells_what_happens_and_ends_with_the_job(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.RUNNING, "live")
    with http.stream("GET", "/jobs/live/events", headers=STREAM) as answer:
        seen = frames(answer.iter_lines())
        assert [next(seen)["event"] for _ in range(3)] == ["status"] * 3
        report(plane.store, "live", skipped(1))
        assert next(seen)["event"] == "samples_skipped"
        done = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
        plane.store.apply(plane.store.job("live"), done, now())
        assert json.loads(next(seen)["data"])["data"]["after"] == "SUCCEEDED"
        assert list(seen) == []


def test_progress_comes_without_a_number_whenever_it_changes(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.RUNNING, "progressing")
    with http.stream("GET", "/jobs/progressing/events", headers=STREAM) as answer:
        seen = frames(answer.iter_lines())
        assert [next(seen)["id"] for _ in range(3)] == ["1", "2", "3"]
        for step in (1, 2):
            report(plane.store, "progressing", progress(step))
            frame = next(seen)
            assert (frame["event"], "id" in frame) == ("progress", False)
            live = LiveProgress.model_validate_json(frame["data"])
            assert (live.attempt, live.progress.step) == (1, step)
            assert live.progress.eta_s == pytest.approx((100 - step) * 128 / 100)
        report(plane.store, "progressing", skipped(2))
        # Progress took no number.
        assert next(seen)["id"] == "4"


def test_the_last_progress_comes_before_the_end(http: httpx.Client, ended: str) -> None:
    seen = streamed(http, ended)
    assert ["id" in frame for frame in seen[-2:]] == [False, True]
    live = LiveProgress.model_validate_json(seen[-2]["data"])
    assert live.progress.step == 600
    # Nobody is told how long a job still takes that has ended.
    assert live.progress.eta_s is None


def test_a_stream_goes_on_at_another_control_plane_without_a_gap(plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "restarted")
    report(plane.store, "restarted", skipped(1), progress(1))
    seen: list[dict[str, str]] = []
    for step in (2, 3):
        update = {"port": free_port()}
        other = ControlPlane(plane.settings.model_copy(update=update), token=None)
        last = numbered(seen)[-1]["id"] if seen else "0"
        with serving(other) as url, httpx.Client(base_url=url, timeout=ANSWERED_WITHIN_S) as http:
            headers = STREAM | {"Last-Event-ID": last}
            with http.stream("GET", "/jobs/restarted/events", headers=headers) as answer:
                coming = frames(answer.iter_lines())
                seen.append(next(coming))
                while "id" in seen[-1]:
                    seen.append(next(coming))
                # Whatever comes next is seen by another.
            report(plane.store, "restarted", progress(step), skipped(step))
        other.stop()
    report(plane.store, "restarted", skipped(4))
    done = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    plane.store.apply(plane.store.job("restarted"), done, now())
    with httpx.Client(base_url=plane.settings.advertised_url, timeout=ANSWERED_WITHIN_S) as http:
        seen += streamed(http, "restarted", **{"Last-Event-ID": numbered(seen)[-1]["id"]})
    assert [int(frame["id"]) for frame in numbered(seen)] == list(range(1, 9))
    told = [json.loads(frame["data"])["progress"]["step"] for frame in seen if "id" not in frame]
    assert told == [1, 2, 3]


def polled(http: httpx.Client, job_id: str, **query: Any) -> list[int]:
    answer = http.get(f"/jobs/{job_id}/events", params=query, timeout=60).raise_for_status()
    assert answer.headers["Content-Type"] == "application/json"
    return [event["number"] for event in answer.json()["events"]]


def test_a_long_poll_is_answered_at_once_where_there_is_something_to_say(
    http: httpx.Client, ended: str
) -> None:
    assert polled(http, ended, after=600, wait_s=50) == [601, 602, 603, 604]
    assert polled(http, ended, after=600, wait_s=50, limit=2) == [601, 602]
    # Nothing more will come.
    assert polled(http, ended, after=604, wait_s=50) == []


def num_open(http: httpx.Client) -> float:
    text = http.get("/metrics").text
    (line,) = [line for line in text.splitlines() if line.startswith("alexnet_event_streams")]
    return float(line.split()[1])


def test_a_long_poll_waits_for_what_comes(http: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "polled")
    assert polled(http, "polled", after=3, wait_s=0) == []
    assert polled(http, "polled", after=3, wait_s=0.01) == []
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(polled, http, "polled", after=3, wait_s=50)
        wait_until(lambda: num_open(http) == 1)
        report(plane.store, "polled", skipped(1))
        assert waiting.result() == [4]
    assert num_open(http) == 0


def test_a_wait_that_nobody_waits_for_gives_its_slot_back(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.RUNNING, "left")
    with pytest.raises(httpx.ReadTimeout):
        http.get("/jobs/left/events", params={"after": 3, "wait_s": 50}, timeout=0.5)
    wait_until(lambda: num_open(http) == 0)


def test_a_silent_stream_says_that_it_lives(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.streams.KEEP_ALIVE_S", 0.0)
    job_in(plane.store, Status.QUEUED, "silent")
    with http.stream("GET", "/jobs/silent/events", headers=STREAM) as answer:
        assert any(line.startswith(":") for line in answer.iter_lines())


def locked() -> OperationalError:
    return OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked"))


def lose(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(plane.store, "job", fail)


@pytest.mark.parametrize("error", [JobNotFoundError("lost"), locked(), NotWrittenError("full")])
def test_a_stream_ends_whole_where_its_job_or_the_store_is_gone(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    job_in(plane.store, Status.QUEUED, f"lost{type(error).__name__}")
    path = f"/jobs/lost{type(error).__name__}/events"
    with http.stream("GET", path, headers=STREAM) as answer:
        seen = frames(answer.iter_lines())
        assert next(seen)["id"] == "1"
        lose(plane, monkeypatch, error)
        assert list(seen) == []
    # Whoever goes on with it is told.
    again = http.get(path, headers=STREAM | {"Last-Event-ID": "1"})
    assert again.status_code == (404 if isinstance(error, JobNotFoundError) else 503)


def test_one_stream_more_than_may_be_open_is_refused_until_another_ends(
    plane: ControlPlane,
) -> None:
    job_in(plane.store, Status.QUEUED, "capped")
    update = {"port": free_port(), "max_event_streams": 1}
    standby = ControlPlane(plane.settings.model_copy(update=update), token=None)
    with serving(standby) as url, httpx.Client(base_url=url, timeout=ANSWERED_WITHIN_S) as http:
        with http.stream("GET", "/jobs/capped/events", headers=STREAM) as answer:
            assert answer.status_code == 200
            refused = http.get("/jobs/capped/events", headers=STREAM)
            assert refused.status_code == 503
            assert refused.headers["Content-Type"] == "application/problem+json"
            assert refused.headers["Retry-After"]
            assert "ALEXNET_MAX_EVENT_STREAMS" in refused.json()["detail"]
            # Waiting takes a slot too, where there is something to wait for.
            assert http.get("/jobs/capped/events?after=1&wait_s=9").status_code == 503
            assert polled(http, "capped", after=0, wait_s=9) == [1]
            assert http.get(
                "/jobs/capped/events", headers={"Accept": "application/json"}
            ).is_success

        def is_open_again() -> bool:
            with http.stream("GET", "/jobs/capped/events", headers=STREAM) as answer:
                return answer.status_code == 200

        wait_until(is_open_again)
    standby.stop()


def test_open_streams_are_counted_until_their_reader_goes(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.QUEUED, "counted")
    wait_until(lambda: num_open(http) == 0)
    with http.stream("GET", "/jobs/counted/events", headers=STREAM) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert num_open(http) == 1
    wait_until(lambda: num_open(http) == 0)
