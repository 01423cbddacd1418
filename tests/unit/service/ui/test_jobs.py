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
from tests.unit.service.conftest import (
    bring_to,
    job_in,
    make_spec,
    now,
    progress,
    report,
    wait_until,
)
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


def test_an_owner_has_a_quick_way_to_what_is_theirs(guarded: Guarded) -> None:
    store = guarded.plane.store
    for number, name in enumerate(("ann", "ann", "bob")):
        owner = Caller(owner=name, role=Role.SUBMITTER)
        spec = make_spec(labels={"set": "owned"})
        store.submit(f"owned{number}", spec, now(), by=owner, private=number == 1)
    path = "/ui/?label=set%3Downed"
    page = guarded.ann.get(path).text
    assert '<button name="owner" value="ann">Mine</button>' in page
    # The form's field comes along with it, empty.
    own = guarded.ann.get(f"{path}&owner=&owner=ann").text
    assert rows(own) == ["owned1", "owned0"]
    assert "Mine</button>" not in own
    for order in ("newest", "oldest"):
        assert rows(guarded.bob.get(f"{path}&owner=ann&order={order}").text) == ["owned0"]


def test_jobs_that_have_not_ended_are_sorted_by_their_figures(
    http: httpx.Client, plane: ControlPlane
) -> None:
    for job_id, priority, status in (
        ("high", 5, Status.QUEUED),
        ("low", 1, Status.RUNNING),
        ("over", 9, Status.SUCCEEDED),
    ):
        spec = make_spec(labels={"set": "sorted"}, priority=priority)
        job_in(plane.store, status, job_id, spec=spec)

    def sorted_() -> str | None:
        # They are read once a second at most.
        html = http.get("/ui/?label=set%3Dsorted&order=priority").text
        return html if rows(html) == ["high", "low"] else None

    page = wait_until(sorted_)
    assert "priority +5" in page
    assert "Only jobs that have not ended" in page
    assert 'aria-sort="ascending">Age' in http.get("/ui/").text


def ticks(html: str) -> list[str]:
    return re.findall(r'<input type="checkbox"[^>]* name="job" value="([^"]+)"[^>]* checked', html)


def test_what_is_ticked_stays_so_on_every_page_and_is_refused_beside_the_table(
    http: httpx.Client, plane: ControlPlane
) -> None:
    for number in range(9):
        name = f"tick{number}"
        plane.store.submit(name, make_spec(name=name, labels={"set": "ticked"}), now())
    ids = [f"tick{number}" for number in range(9)]
    elsewhere = http.get("/ui/", params={"q": "there is none", "job": ids[:2]}).text
    assert ticks(elsewhere) == ids[:2]
    asked = {"label": "set=ticked", "compare": "ticked"}
    refused = http.get("/ui/", params={**asked, "job": [*ids, "none of ours"]})
    assert refused.status_code == 422
    assert sorted(ticks(refused.text)) == ids
    assert 'id="ticked-error"' in refused.text
    assert http.get("/ui/", params=asked).status_code == 422
    led = http.get("/ui/", params={**asked, "job": ids[:2]})
    assert led.headers["Location"] == "/ui/compare?job=tick0&job=tick1"
    # To be there when the first row comes by itself.
    assert "Compare those that are ticked" in http.get("/ui/?q=there+is+none").text


def test_all_jobs_are_led_to_with_what_is_ticked_by_then(http: httpx.Client) -> None:
    assert '<button name="every"' in http.get("/ui/?status=FAILED").text
    assert '<button name="every"' not in http.get("/ui/").text
    asked = {"status": "FAILED", "q": "edited", "every": "job", "job": ["a", "b"]}
    led = http.get("/ui/", params=asked)
    assert (led.status_code, led.headers["Location"]) == (303, "/ui/?job=a&job=b")


# Of those that have ended none is sorted by a figure: no job is held against the label.
@pytest.mark.parametrize("more", ["", "&order=priority&status=SUCCEEDED"])
def test_a_filter_that_cannot_be_is_told_beside_its_field(http: httpx.Client, more: str) -> None:
    answer = http.get(f"/ui/?label=%3Cb%3E{more}")
    assert answer.status_code == 422
    assert 'id="label-error"' in answer.text
    assert "&lt;b&gt;" in answer.text
    assert "data-live" not in answer.text


@pytest.mark.parametrize("order", ["newest", "oldest", "priority"])
def test_pages_follow_each_other(http: httpx.Client, plane: ControlPlane, order: str) -> None:
    ids = [f"{order}{number:03}" for number in range(PAGE + 2)]
    for job_id in ids:
        plane.store.submit(job_id, make_spec(labels={"pages": order}), now())
    expected = ids if order == "oldest" else ids[::-1]
    asked = {"label": f"pages={order}", "order": order}

    def first() -> str | None:
        # Jobs that have not ended are read once a second at most.
        html = http.get("/ui/", params=asked).text
        return html if rows(html) == expected[:PAGE] else None

    cursor = next_page(wait_until(first))
    second = http.get("/ui/", params=asked | {"cursor": cursor}).text
    assert rows(second) == expected[PAGE:]
    assert "First page" in second
    assert "Next page" not in second
    # As the button sends what was edited meanwhile, and not shown.
    for edited in ({"order": "top1"}, {"q": f"{order}0"}, {"status": "PAUSED"}):
        first_of_others = http.get("/ui/", params=asked | edited | {"cursor": cursor}).text
        assert "First page" not in first_of_others


def next_page(html: str) -> str:
    (cursor,) = re.findall(r'name="cursor" value="([^"]+)"', html)
    return str(cursor)


def test_a_search_that_goes_on_says_so(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sought", "another", "a third"):
        plane.store.submit(name, make_spec(name=f"goes on {name}"), now())
    monkeypatch.setattr("service.ui.jobs.WINDOW", 2)
    asked = {"q": "goes on sought"}
    html = http.get("/ui/", params=asked).text
    assert rows(html) == []
    assert "None of the 2 jobs that were looked through is like that" in html
    assert "No job is like that" not in html
    html = http.get("/ui/", params=asked | {"cursor": next_page(html)}).text
    assert rows(html) == ["sought"]


def test_an_owners_jobs_are_found_behind_however_many_of_others(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = guarded.plane.store
    for number, name in enumerate(("dora", "dora", "ann", "ann", "ann")):
        owner = Caller(owner=name, role=Role.SUBMITTER)
        store.submit(f"behind{number}", make_spec(), now(), by=owner, private=number == 1)
    monkeypatch.setattr("service.ui.jobs.WINDOW", 2)
    html = guarded.bob.get("/ui/?owner=dora").text
    assert rows(html) == ["behind0"]
    assert "Next page" not in html


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
