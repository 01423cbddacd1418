import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.store.errors import JobNotFoundError
from tests.unit.service.api.test_streams import frames, locked, lose
from tests.unit.service.conftest import FIRST_ATTEMPT, free_port, job_in, now, serving
from tests.waiting import ANSWERED_WITHIN_S
from trainer.contract.attempt import Outcome
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import Status

STREAM = {"Accept": "text/event-stream"}


def log_of(plane: ControlPlane, job_id: str, attempt: int = 1) -> Path:
    log = RunDirectory(plane.settings.run_root / job_id).attempt(attempt).log
    log.parent.mkdir(parents=True, exist_ok=True)
    return log


def write(plane: ControlPlane, job_id: str, content: bytes, attempt: int = 1) -> None:
    with log_of(plane, job_id, attempt).open("ab") as log:
        log.write(content)


def end(plane: ControlPlane, job_id: str) -> None:
    done = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    plane.store.apply(plane.store.job(job_id), done, now())


def begin_again(plane: ControlPlane, job_id: str) -> None:
    job = plane.store.job(job_id)
    failed = Decision(status=Status.RETRYING, ended=Outcome(outcome="failed", reason="crashed"))
    plane.store.apply(job, failed, now())
    again = replace(FIRST_ATTEMPT, number=job.attempt + 1)
    job = plane.store.begin_attempt(plane.store.job(job_id), again, now())
    plane.store.apply(job, Decision(status=Status.RUNNING), now())


def told(frames: Iterator[dict[str, str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((frame["id"], json.loads(frame["data"])) for frame in frames)


def fail(*_: object, **__: object) -> None:
    raise OSError(5, "Input/output error")


@pytest.fixture(scope="module")
def printed(plane: ControlPlane) -> str:
    """Give a job of two attempts that has ended; the first ended within a line."""
    job_in(plane.store, Status.RUNNING, "printed")
    write(plane, "printed", b"one\ntwo\nthr")
    begin_again(plane, "printed")
    write(plane, "printed", b"four\nf\xffve\n\x1b[31msix\n", 2)
    end(plane, "printed")
    return "printed"


def test_the_bytes_of_the_newest_attempt_come_as_text(http: httpx.Client, printed: str) -> None:
    answer = http.get(f"/jobs/{printed}/logs")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.content == b"four\nf\xffve\n\x1b[31msix\n"
    assert http.get(f"/jobs/{printed}/logs?attempt=1").content == b"one\ntwo\nthr"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tail=1", b"\x1b[31msix\n"),
        ("tail=0", b""),
        ("tail=100", b"four\nf\xffve\n\x1b[31msix\n"),
        ("attempt=1&tail=2", b"two\nthr"),
        ("attempt=all", b"one\ntwo\nthr==> attempt 2 <==\nfour\nf\xffve\n\x1b[31msix\n"),
        ("attempt=all&tail=4", b"thr==> attempt 2 <==\nfour\nf\xffve\n\x1b[31msix\n"),
        ("attempt=1&follow=true", b"one\ntwo\nthr==> attempt 2 <==\nfour\nf\xffve\n\x1b[31msix\n"),
        ("follow=true&tail=1", b"\x1b[31msix\n"),
    ],
)
def test_what_is_asked_for_is_sent(
    http: httpx.Client, printed: str, query: str, expected: bytes
) -> None:
    assert http.get(f"/jobs/{printed}/logs?{query}").content == expected


@pytest.mark.parametrize("query", ["attempt=0", "attempt=x", "tail=-1", "tail=100001"])
def test_what_is_no_attempt_or_tail_is_refused(
    http: httpx.Client, printed: str, query: str
) -> None:
    assert http.get(f"/jobs/{printed}/logs?{query}").status_code == 422


def test_an_attempt_that_never_was_is_not_found(http: httpx.Client, printed: str) -> None:
    for path in (f"/jobs/{printed}/logs?attempt=3", "/jobs/nosuch/logs"):
        assert http.get(path).status_code == 404


def test_a_job_that_has_printed_nothing_has_an_empty_log(
    http: httpx.Client, plane: ControlPlane
) -> None:
    for job_id, status in (("logqueued", Status.QUEUED), ("logstarts", Status.STARTING)):
        job_in(plane.store, status, job_id)
        answer = http.get(f"/jobs/{job_id}/logs?tail=10")
        assert (answer.status_code, answer.content) == (200, b"")


def test_ranges_go_on_with_a_log_that_grows(http: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "grows")
    write(plane, "grows", b"0123456789")
    first = http.get("/jobs/grows/logs", headers={"Range": "bytes=2-5"})
    assert (first.status_code, first.content) == (206, b"2345")
    assert first.headers["Content-Range"] == "bytes 2-5/10"
    write(plane, "grows", b"abc")
    condition = {"Range": "bytes=10-", "If-Range": first.headers["ETag"]}
    rest = http.get("/jobs/grows/logs", headers=condition)
    assert (rest.status_code, rest.content) == (206, b"abc")
    beyond = http.get("/jobs/grows/logs", headers={"Range": "bytes=13-"})
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == "bytes */13"
    assert beyond.json()["type"].endswith("no-such-range")
    # Another file under its name has nothing of the one before.
    log_of(plane, "grows").unlink()
    write(plane, "grows", b"something else")
    assert http.get("/jobs/grows/logs", headers=condition).content == b"something else"


def test_a_log_that_is_a_link_is_not_followed(http: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "linked")
    order = log_of(plane, "linked").with_name("order.json")
    order.write_text("token")
    log_of(plane, "linked").symlink_to(order)
    for query in ("", "?tail=1", "?attempt=all"):
        assert http.get(f"/jobs/linked/logs{query}").content == b""


def test_a_stream_goes_on_over_attempts_to_the_end_of_the_job(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.QUEUED, "followed")
    with http.stream("GET", "/jobs/followed/logs?follow=true", headers=STREAM) as answer:
        seen = told(frames(answer.iter_lines()))
        job = plane.store.begin_attempt(plane.store.job("followed"), FIRST_ATTEMPT, now())
        plane.store.apply(job, Decision(status=Status.RUNNING), now())
        write(plane, "followed", b"one\ntw")
        assert next(seen) == ("1:4", {"attempt": 1, "offset": 0, "next_offset": 4, "text": "one\n"})
        write(plane, "followed", b"o\xff\nthree")
        assert next(seen) == (
            "1:9",
            {"attempt": 1, "offset": 4, "next_offset": 9, "text": "two�\n"},
        )
        begin_again(plane, "followed")
        assert next(seen) == (
            "1:14",
            {"attempt": 1, "offset": 9, "next_offset": 14, "text": "three"},
        )
        write(plane, "followed", b"four\n", 2)
        assert next(seen) == (
            "2:5",
            {"attempt": 2, "offset": 0, "next_offset": 5, "text": "four\n"},
        )
        end(plane, "followed")
        assert list(seen) == []


def test_a_stream_goes_on_behind_the_last_event_of_another_service(
    plane: ControlPlane, printed: str
) -> None:
    standby = ControlPlane(
        plane.settings.model_copy(update={"port": free_port(), "max_event_streams": 1}), token=None
    )
    with serving(standby) as url, httpx.Client(base_url=url, timeout=ANSWERED_WITHIN_S) as http:
        path = f"/jobs/{printed}/logs?follow=true"
        headers = STREAM | {"Last-Event-ID": "1:8"}
        with http.stream("GET", path, headers=headers) as answer:
            seen = [text["text"] for _, text in told(frames(answer.iter_lines()))]
        assert seen == ["thr", "four\nf�ve\n\x1b[31msix\n"]
        refused = http.get(path, headers=STREAM | {"Last-Event-ID": "eight"})
        assert refused.status_code == 422
        job_in(plane.store, Status.QUEUED, "waits")
        with http.stream("GET", "/jobs/waits/logs?follow=true") as answer:
            assert answer.status_code == 200
            assert http.get("/jobs/waits/logs?follow=true").status_code == 503
            assert http.get("/jobs/waits/logs").status_code == 200
    standby.stop()


def test_events_without_following_end_where_the_log_does(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.RUNNING, "sofar")
    write(plane, "sofar", b"one\ntw")
    with http.stream("GET", "/jobs/sofar/logs", headers=STREAM) as answer:
        assert [text["text"] for _, text in told(frames(answer.iter_lines()))] == ["one\n", "tw"]


@pytest.mark.parametrize(
    ("error", "told_last"),
    [
        (JobNotFoundError("lost"), "\n==> the job is deleted <==\n"),
        (locked(), "\n==> the store does not answer <==\n"),
    ],
)
@pytest.mark.parametrize("headers", [{}, STREAM])
def test_a_stream_ends_whole_where_its_job_or_the_store_is_gone(
    http: httpx.Client,
    plane: ControlPlane,
    monkeypatch: pytest.MonkeyPatch,
    *,
    error: Exception,
    told_last: str,
    headers: dict[str, str],
) -> None:
    job_id = f"lost{type(error).__name__}{len(headers)}"
    job_in(plane.store, Status.RUNNING, job_id)
    write(plane, job_id, b"one\n")
    with http.stream("GET", f"/jobs/{job_id}/logs?follow=true", headers=headers) as answer:
        coming = answer.iter_text()
        seen = next(coming)
        lose(plane, monkeypatch, error)
        seen += "".join(coming)
    if headers:
        assert [text["text"] for _, text in told(frames(iter(seen.split("\n"))))] == ["one\n"]
    else:
        assert seen == f"one\n{told_last}"


def test_a_stream_ends_whole_and_says_so_where_the_disk_fails(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_in(plane.store, Status.RUNNING, "torn")
    write(plane, "torn", b"one\n")
    last = []
    for headers in ({}, STREAM):
        with http.stream("GET", "/jobs/torn/logs?follow=true", headers=headers) as answer:
            coming = answer.iter_text()
            seen = next(coming)
            with monkeypatch.context() as broken:
                broken.setattr("service.run_files.content.open_file", fail)
                last.append("".join((seen, *coming)))
    why = f"the run directory {plane.settings.run_root / 'torn'} cannot be used ([Errno 5] "
    assert last[0].startswith(f"one\n\n==> {why}")
    assert last[0].endswith(" <==\n")
    text, problem = frames(iter(last[1].split("\n")))
    assert (text["event"], problem["event"], "id" in problem) == ("log", "problem", False)
    told_problem = json.loads(problem["data"])
    assert told_problem["type"].endswith("disk-unavailable")
    assert told_problem["status"] == 503
    assert told_problem["detail"].startswith(why)


def test_a_log_that_vanishes_while_it_is_followed_is_missed(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.RUNNING, "vanishes")
    write(plane, "vanishes", b"one\n")
    with http.stream("GET", "/jobs/vanishes/logs?follow=true") as answer:
        coming = answer.iter_text()
        seen = next(coming)
        log_of(plane, "vanishes").unlink()
        seen += "".join(coming)
    assert "the log of attempt 1 is gone" in seen


def test_what_is_not_followed_is_whole_without_the_store(
    http: httpx.Client, plane: ControlPlane, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(plane, monkeypatch, locked())
    with http.stream("GET", f"/jobs/{printed}/logs?attempt=all", headers=STREAM) as answer:
        seen = [text["text"] for _, text in told(frames(answer.iter_lines()))]
    assert "".join(seen).endswith("six\n")
    assert seen[:2] == ["one\ntwo\n", "thr"]


def test_a_disk_that_cannot_be_read_is_told_of(
    http: httpx.Client, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.run_files.content.open_file", fail)
    answer = http.get(f"/jobs/{printed}/logs")
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("disk-unavailable")


def test_a_silent_stream_says_that_it_lives(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.logs.KEEP_ALIVE_S", 0.0)
    job_in(plane.store, Status.QUEUED, "silent")
    with http.stream("GET", "/jobs/silent/logs?follow=true", headers=STREAM) as answer:
        assert any(line.startswith(":") for line in answer.iter_lines())
