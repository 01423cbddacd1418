"""Jobs side by side, over real HTTP."""

import re
from typing import Any, Literal

import httpx
import pytest
from sqlalchemy import Connection, update

from service.access.caller import Caller, Role
from service.application import create_application
from service.control_plane import ControlPlane
from service.jobs.history import History
from service.store.points import read_history
from service.store.tables import jobs
from service.ui import compare, compare_shared
from tests.unit.service.conftest import bring_to, job_in, make_spec, now, progress, report
from tests.unit.service.guarded import Guarded
from tests.unit.service.ui.test_jobs import Messages
from trainer.contract.events import Evaluated
from trainer.contract.status import Status


@pytest.fixture(scope="module", autouse=True)
def _two(plane: ControlPlane, http: httpx.Client) -> None:
    for job_id, seed in (("left", 1), ("right", 2)):
        job_in(plane.store, Status.RUNNING, job_id, spec=make_spec(name=f"job {job_id}", seed=seed))
        report(plane.store, job_id, progress(25, loss=1.5), progress(50, loss=1.25))
    # The first page with a chart waits until plotly's script is compressed.
    http.get("/ui/compare?job=left&job=right", timeout=60)


def test_two_jobs_are_shown_with_curves_and_what_differs(http: httpx.Client) -> None:
    html = http.get("/ui/compare?job=left&job=right&job=left&job=").raise_for_status().text
    for told in ("job left", "job right", 'id="loss-figure"', "differs", "keys that are the same"):
        assert told in html
    assert html.count('href="/ui/compare?by=step&job=') == 2
    different, _, equal = html.partition("keys that are the same")
    assert "<code>seed</code>" in different
    assert "<code>model.lrn</code>" in equal


def test_what_curves_go_by_is_chosen_and_kept(http: httpx.Client) -> None:
    html = http.get("/ui/compare?job=left&job=right&by=epoch").raise_for_status().text
    assert '<a href="/ui/compare?job=left&amp;job=right&amp;by=epoch" aria-current="true">' in html
    assert '<a href="/ui/compare?job=left&amp;job=right&amp;by=images">' in html
    assert re.search(r'data-live="[^"]*by=epoch"', html)
    assert '<input type="hidden" name="by" value="epoch">' in html
    assert 'href="/ui/compare?by=epoch&amp;job=right"' in html.replace("epoch&job", "epoch&amp;job")
    assert '"text": "Epoch"' in html
    assert http.get("/ui/compare?job=left&job=right&by=hour").status_code == 422


def test_the_switches_are_those_of_a_jobs_page(http: httpx.Client) -> None:
    for path in ("/ui/compare?job=left&job=right", "/ui/jobs/left"):
        html = http.get(path).raise_for_status().text
        assert 'data-chart="loss" data-does="smooth" data-key="loss-smooth"' in html
        assert 'data-chart="loss" data-does="log" data-key="loss-log"' in html


def test_no_two_switches_of_a_page_are_called_the_same(
    http: httpx.Client, plane: ControlPlane
) -> None:
    for job_id in ("named1", "named2"):
        job_in(plane.store, Status.RUNNING, job_id)
        measured = Evaluated(step=25, epoch=1.0, num_samples=9, loss=1.5, top1=0.5, top5=0.8)
        report(plane.store, job_id, progress(25), measured)
    for path, name in (
        ("/ui/compare?job=named1&job=named2", "Log scale of Validation loss"),
        ("/ui/jobs/named1", "Smoothing of Loss"),
    ):
        html = http.get(path).raise_for_status().text
        labels = re.findall(r"<label>(.*?data-chart=.*?)</label>", html)
        names = [" ".join(re.sub("<[^>]*>", "", label).split()) for label in labels]
        assert name in names
        assert len(set(names)) == len(names)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of which jobs a history is read, one after another."""
    read: list[str] = []

    def counted(connection: Connection, job_id: str, *given: Any, **more: Any) -> History:
        read.append(job_id)
        return read_history(connection, job_id, *given, **more)

    monkeypatch.setattr(compare_shared, "read_history", counted)
    return read


def test_jobs_that_have_ended_are_read_once(
    http: httpx.Client, plane: ControlPlane, read: list[str]
) -> None:
    for job_id in ("once1", "once2"):
        job_in(plane.store, Status.CANCELLED, job_id)
    job_in(plane.store, Status.RUNNING, "once3")
    for path in ("/ui/compare", "/ui/compare", "/ui/live/compare"):
        http.get(f"{path}?job=once1&job=once2").raise_for_status()
    http.get("/ui/compare?job=once1&job=once3").raise_for_status()
    assert read == ["once1", "once2", "once3"]


def test_jobs_that_run_are_read_once_for_all_who_look(
    http: httpx.Client,
    plane: ControlPlane,
    read: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Longer than the test takes on whatever machine.
    monkeypatch.setattr(compare_shared, "LOOK_EVERY_S", 3600)
    for job_id in ("runs1", "runs2"):
        job_in(plane.store, Status.RUNNING, job_id)
    for number in range(3):
        report(plane.store, "runs1", progress(number + 1))
        http.get("/ui/compare?job=runs1&job=runs2").raise_for_status()
    with http.stream("GET", "/ui/live/compare?job=runs1&job=runs2") as answer:
        Messages(answer.raise_for_status()).next_of("results")
    assert read == ["runs1", "runs2"]


def test_images_are_counted_by_the_plan_of_the_job(http: httpx.Client, plane: ControlPlane) -> None:
    spec = make_spec(optim={"global_batch_size": 128})
    for job_id in ("planned", "unplanned"):
        job_in(plane.store, Status.RUNNING, job_id, spec=spec)
        report(plane.store, job_id, progress(3), progress(4))
    foresee = update(jobs).where(jobs.c.id == "planned").values(plan={"num_samples": 300})
    plane.store.write(lambda connection: connection.execute(foresee))
    html = http.get("/ui/compare?job=planned&job=unplanned&by=images").raise_for_status().text
    for numbers in ("[300, 428]", "[384, 512]"):
        assert f'"x": {numbers}' in html


def test_each_application_keeps_what_it_has_read(plane: ControlPlane) -> None:
    one, other = (create_application(plane).state.curves for _ in range(2))
    assert one is not other


def test_nothing_asked_for_is_nothing_wrong(http: httpx.Client) -> None:
    html = http.get("/ui/compare").raise_for_status().text
    assert "Two to eight jobs" in html
    assert 'role="alert"' not in html


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("job=left", 422, "add another"),
        ("&".join(f"job={number}" for number in range(9)), 422, "9 jobs are too many"),
        ("job=left&job=%3Cb%3E", 404, "&lt;b&gt; is no job that you can see"),
    ],
)
def test_what_cannot_be_compared_is_told_with_why(
    http: httpx.Client, query: str, status: int, told: str
) -> None:
    answer = http.get(f"/ui/compare?{query}")
    assert answer.status_code == status
    assert told in answer.text
    assert "<b>&" not in answer.text


def test_jobs_that_live_are_followed_and_those_that_have_ended_are_not(
    http: httpx.Client, plane: ControlPlane
) -> None:
    html = http.get("/ui/compare?job=left&job=right").text
    (live,) = re.findall(r'data-live="([^"]*)"', html)
    assert live.replace("&amp;", "&") == (
        "/ui/live/compare?job=left&job=right&charts=loss%2Clearning-rate%2Cimages-per-second&by=step"
    )
    for job_id in ("over1", "over2"):
        job_in(plane.store, Status.CANCELLED, job_id)
    assert "data-live" not in http.get("/ui/compare?job=over1&job=over2").text
    assert "data-live" in http.get("/ui/compare?job=over1&job=left").text
    for query in ("", "?job=left", "?job=left&job=nothing"):
        assert "data-live" not in http.get(f"/ui/compare{query}").text


def test_the_stream_sends_the_page_and_ends_with_the_jobs(
    http: httpx.Client, plane: ControlPlane
) -> None:
    for job_id in ("ended1", "ended2"):
        job_in(plane.store, Status.CANCELLED, job_id)
    told = http.get("/ui/live/compare?job=ended1&job=ended2").raise_for_status().text
    assert re.findall(r"^event: (\w+)$", told, re.MULTILINE)[-1] == "ended"
    assert re.findall(r'"target": "([\w-]+)"', told) == ["chosen", "results"]


@pytest.mark.parametrize("becomes", ["deleted", "private"])
def test_the_stream_goes_on_when_one_of_its_jobs_is_gone(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, becomes: Literal["deleted", "private"]
) -> None:
    monkeypatch.setattr(compare, "LOOK_EVERY_S", 0.05)
    store, stays, goes = guarded.plane.store, f"stays-{becomes}", f"goes-{becomes}"
    ann = Caller(owner="ann", role=Role.SUBMITTER)
    running = job_in(store, Status.RUNNING, stays, by=ann)
    job_in(store, Status.CANCELLED, goes, by=ann)
    with guarded.bob.stream("GET", f"/ui/live/compare?job={goes}&job={stays}") as answer:
        messages = Messages(answer.raise_for_status())
        assert goes in messages.next_of("chosen")["html"]
        if becomes == "deleted":
            guarded.ann.delete(f"/jobs/{goes}").raise_for_status()
        else:
            hide = update(jobs).where(jobs.c.id == goes).values(private=True)
            store.write(lambda connection: connection.execute(hide))
        left = messages.next_of("chosen")["html"]
        assert stays in left
        assert goes not in left
        report(store, stays, progress(50))
        assert "50.0 %" in messages.next_of("chosen")["html"]
        bring_to(store, running, Status.CANCELLED)
        rest = [told for _, told in iter(messages.next, ("ended", {}))]
        chosen = [told["html"] for told in rest if told["target"] == "chosen"]
        assert "Cancelled" in chosen[-1]
        # The end of it too was read.
        assert "curves" in {told["target"] for told in rest}


@pytest.mark.parametrize(
    ("query", "status"),
    [("job=left", 422), ("", 422), ("job=left&job=nothing", 404)],
)
def test_what_cannot_be_compared_is_not_followed(
    http: httpx.Client, query: str, status: int
) -> None:
    assert http.get(f"/ui/live/compare?{query}").status_code == status


def test_others_private_jobs_are_not_compared(guarded: Guarded) -> None:
    store = guarded.plane.store
    ann = Caller(owner="ann", role=Role.SUBMITTER)
    store.submit("secret", make_spec(name="secret spec"), now(), by=ann, private=True)
    store.submit("public", make_spec(name="public"), now(), by=ann)
    query = "/ui/compare?job=secret&job=public"
    assert "secret spec" in guarded.ann.get(query).raise_for_status().text
    assert guarded.bob.get(query.replace("/ui/", "/ui/live/")).status_code == 404
    answer = guarded.bob.get(query)
    assert answer.status_code == 404
    assert "secret spec" not in answer.text
