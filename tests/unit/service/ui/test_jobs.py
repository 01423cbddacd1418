"""The table of jobs, over real HTTP."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from service.access.caller import Caller, Role
from service.control_plane import ControlPlane
from service.store.store import Store
from service.ui.jobs import PAGE
from tests.unit.service.conftest import bring_to, job_in, make_spec, now, progress, report
from tests.unit.service.guarded import Guarded
from trainer.contract.status import Status

EVIL = "<script>alert(1)</script>"


def rows(html: str) -> list[str]:
    return re.findall(r'<tr role="row" id="job-([^"]+)"', html)


def test_jobs_are_shown_with_what_becomes_of_them(http: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "shown", spec=make_spec(name="shown job"))
    report(plane.store, "shown", progress(25, loss=1.5), progress(50, loss=1.25))
    html = http.get("/ui/?q=shown").text
    assert rows(html) == ["shown"]
    for told in ("shown job", "Running", "50.0 %", "epoch 5.00", "<polyline", "1.25"):
        assert told in html


def test_filters_are_asked_of_the_store(http: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.PAUSED, "f1", spec=make_spec(labels={"set": "filters"}))
    job_in(
        plane.store,
        Status.QUEUED,
        "f2",
        spec=make_spec(name="Filter two", labels={"set": "filters"}),
    )
    assert rows(http.get("/ui/?label=set%3Dfilters").text) == ["f2", "f1"]
    assert rows(http.get("/ui/?label=set%3Dfilters&status=PAUSED").text) == ["f1"]
    assert rows(http.get("/ui/?label=set%3Dfilters&q=filter").text) == ["f2"]
    # As the form sends what was left empty.
    assert "f1" in rows(http.get("/ui/?q=&status=&label=set%3Dfilters").text)


def test_a_filter_that_cannot_be_is_told_beside_its_field(http: httpx.Client) -> None:
    answer = http.get("/ui/?label=%3Cb%3E")
    assert answer.status_code == 422
    assert 'id="label-error"' in answer.text
    assert "&lt;b&gt;" in answer.text
    assert "data-live" not in answer.text


def test_pages_follow_each_other(http: httpx.Client, plane: ControlPlane) -> None:
    for number in range(PAGE + 2):
        plane.store.submit(f"page{number:03}", make_spec(labels={"set": "pages"}), now())
    first = http.get("/ui/?label=set%3Dpages").text
    (older,) = re.findall(r'href="(/ui/[^"]*cursor=[^"]*)"', first)
    second = http.get(older.replace("&amp;", "&")).text
    assert len(rows(first)) == PAGE
    assert rows(second) == ["page001", "page000"]
    assert "cursor=" not in second.replace(older.partition("?")[2], "") or "Newest" in second


def test_without_jobs_that_is_said(http: httpx.Client) -> None:
    assert "No job is like that" in http.get("/ui/?q=there+is+none").text


def test_a_job_that_cannot_be_read_is_named_and_hides_no_other(
    http: httpx.Client, plane: ControlPlane
) -> None:
    for name in ("broken", "whole"):
        plane.store.submit(name, make_spec(labels={"set": "broken"}), now())
    change = text("""UPDATE jobs SET spec = '{"name": "x"}' WHERE id = 'broken'""")
    plane.store.write(lambda connection: connection.execute(change))
    html = http.get("/ui/?label=set%3Dbroken").text
    assert rows(html) == ["whole"]
    assert "broken</span> cannot be read" in html


def test_what_others_wrote_is_text(http: httpx.Client, plane: ControlPlane) -> None:
    plane.store.submit("evil", make_spec(labels={"set": "evil"}), now())
    plane.store.note_wait("evil", EVIL)
    mallory = Caller(owner=EVIL, role=Role.SUBMITTER)
    plane.store.submit("owned", make_spec(labels={"set": "evil"}), now(), by=mallory)
    for path in (f"/ui/?label=set%3Devil&q={EVIL}", "/ui/?label=set%3Devil", f"/ui/{EVIL}"):
        html = http.get(path).text
        assert EVIL not in html
    assert "&lt;script&gt;" in http.get("/ui/?label=set%3Devil").text


def test_nobody_is_shown_others_private_jobs_or_buttons_they_may_not_use(guarded: Guarded) -> None:
    store = guarded.plane.store
    ann = Caller(owner="ann", role=Role.SUBMITTER)
    store.submit("secret", make_spec(name="secret"), now(), by=ann, private=True)
    store.submit("public", make_spec(name="public"), now(), by=ann)
    assert {"secret", "public"} <= set(rows(guarded.ann.get("/ui/").text))
    for client in (guarded.bob, guarded.vic):
        assert "secret" not in client.get("/ui/").text
        assert rows(client.get("/ui/?q=secret").text) == []
    assert "/ui/jobs/public/cancel" in guarded.ann.get("/ui/").text
    assert "/ui/jobs/public/cancel" not in guarded.bob.get("/ui/").text
    viewers = guarded.vic.get("/ui/").text
    assert "/cancel" not in viewers
    assert "/ui/submit" not in viewers


class Messages:
    """What a stream of the page tells."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines: Iterator[str] = response.iter_lines()

    def next(self) -> tuple[str, dict[str, Any]]:
        """Return the next message's event and its JSON."""
        told = {}
        for one in self._lines:
            name, _, value = one.partition(": ")
            if one:
                told[name] = value
            elif "event" in told:
                return told["event"], json.loads(told["data"])
        raise EOFError

    def next_of(self, target: str) -> dict[str, Any]:
        """Return the next that is about an element."""
        while True:
            _, told = self.next()
            if told.get("target") == target:
                return told


@pytest.fixture
def messages(http: httpx.Client, plane: ControlPlane) -> Iterator[Messages]:
    job_in(plane.store, Status.RUNNING, "live", spec=make_spec(labels={"set": "live"}))
    with http.stream("GET", "/ui/live/jobs?label=set%3Dlive") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield Messages(response)


def finish(store: Store, job_id: str) -> None:
    bring_to(store, store.job(job_id), Status.SUCCEEDED)


def test_rows_come_by_themselves_as_they_change(messages: Messages, plane: ControlPlane) -> None:
    assert messages.next() == ("alive", {})
    assert rows(messages.next_of("job-live")["html"]) == ["live"]
    report(plane.store, "live", progress(75))
    assert "75.0 %" in messages.next_of("job-live")["html"]
    plane.store.submit("live2", make_spec(labels={"set": "live"}), now())
    plane.store.submit("not live", make_spec(), now())
    assert messages.next()[1]["target"] == "job-live2"
    finish(plane.store, "live")
    assert "Succeeded" in messages.next_of("job-live")["html"]


@pytest.mark.parametrize("label", ["wrong", "%3Cb%3E"])
def test_a_stream_of_a_filter_that_cannot_be_is_refused(http: httpx.Client, label: str) -> None:
    assert http.get(f"/ui/live/jobs?label={label}").status_code == 422


def test_what_no_database_takes_is_not_sought(http: httpx.Client) -> None:
    assert http.get("/ui/?q=a%00%0Ab%FF").status_code == 200
