"""The page of a job, over HTTP."""

import json
import re
import shutil
from itertools import count

import httpx
import pytest

from service.control_plane import ControlPlane
from tests.unit.service.api.test_checkpoints import begin
from tests.unit.service.conftest import job_in, make_spec, progress, report
from tests.unit.service.ui.job.test_log import printed
from tests.unit.service.ui.job.test_pictures import drawn
from tests.unit.service.world import World
from tests.unit.trainer.contract.reports import training_report
from trainer.contract.events import Evaluated, Progress, SamplesSkipped
from trainer.contract.pictures import CURVES_NAME, INDEX_NAME, SHEET_NAME
from trainer.contract.pins import is_pinned
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import Status

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
_numbers = count()


@pytest.fixture(scope="module")
def world(plane: ControlPlane) -> World:
    return World(plane.settings.state_dir, plane.store)


@pytest.fixture
def job_id(plane: ControlPlane, world: World) -> str:
    """A job that runs, with three steps, an evaluation, a checkpoint and a log."""
    job_id = f"page{next(_numbers)}"
    job_in(plane.store, Status.RUNNING, job_id, spec=make_spec(model={"num_classes": 10}))
    begin(world, job_id)
    world.checkpoint(30, job_id=job_id)
    measured = Evaluated(step=30, epoch=3, num_samples=9, loss=1.25, top1=0.6, top5=0.8)
    report(plane.store, job_id, *(told(step) for step in (10, 20, 30)), measured)
    printed(plane.settings.run_root / job_id, 1, "it trains\n")
    return job_id


def told(step: int) -> Progress:
    return progress(step, phase_seconds={"forward": 0.5})


def shown(browser: httpx.Client, path: str) -> str:
    return browser.get(path).raise_for_status().text


def figures(html: str) -> dict[str, object]:
    found = re.findall(r'<script type="application/json" id="(\w+)-figure">(.*?)</script>', html)
    return {name: json.loads(text) for name, text in found}


def test_the_page_leads_to_grafana_where_there_is_one(
    browser: httpx.Client, plane: ControlPlane, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Grafana" not in shown(browser, f"/ui/jobs/{job_id}")
    changed = plane.settings.model_copy(update={"grafana_url": "https://host/grafana"})
    monkeypatch.setattr(plane, "settings", changed)
    html = shown(browser, f"/ui/jobs/{job_id}")
    assert f'href="https://host/grafana/d/alexnet-job?var-job={job_id}"' in html


def test_without_a_script_the_curves_are_a_picture_where_there_is_one(
    browser: httpx.Client, plane: ControlPlane, job_id: str
) -> None:
    assert "noscript" not in shown(browser, f"/ui/jobs/{job_id}")
    attempt = RunDirectory(plane.settings.run_root / job_id).attempt(1)
    attempt.pictures.mkdir(parents=True)
    (attempt.pictures / CURVES_NAME).write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    html = shown(browser, f"/ui/jobs/{job_id}")
    (url,) = re.findall(r'<noscript>.*?<img src="([^"]*)"', html)
    assert f'<a href="{url}">Loss and errors as a picture</a>' in html
    answer = browser.get(url).raise_for_status()
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_the_contact_sheet_of_what_it_trains_on_leads_to_its_file(
    browser: httpx.Client, plane: ControlPlane, job_id: str
) -> None:
    assert '<section id="sheet" hidden>' in shown(browser, f"/ui/jobs/{job_id}")
    attempt = RunDirectory(plane.settings.run_root / job_id).attempt(1)
    attempt.pictures.mkdir(parents=True)
    (attempt.pictures / SHEET_NAME).write_bytes(b"a sheet")
    html = shown(browser, f"/ui/jobs/{job_id}")
    ((url, picture),) = re.findall(r'<a href="([^"]*)"><img class="sheet" ([^>]*)>', html)
    assert f'src="{url}"' in picture
    assert 'loading="lazy"' in picture
    assert 'alt="Samples spread over the training set' in picture
    answer = browser.get(url).raise_for_status()
    assert answer.content == b"a sheet"
    assert answer.headers["Content-Type"] == "image/png"


def test_a_run_is_broken_down_by_phase_and_by_replica(
    browser: httpx.Client, plane: ControlPlane, job_id: str
) -> None:
    html = shown(browser, f"/ui/jobs/{job_id}")
    assert 'id="phases-by-step-rows"' in html
    assert 'id="replicas-rows"' not in html
    report(plane.store, job_id, progress(40, replica_images_per_second=(6.0, 2.5)))
    html = shown(browser, f"/ui/jobs/{job_id}")
    (rows,) = re.findall(r'<table id="replicas-rows">.*?</table>', html, re.DOTALL)
    assert "Replica 1" in rows
    assert re.search(r">6\.0</td>\s*<td[^>]*>2\.5</td>", rows)


@pytest.mark.parametrize("path", ["/ui/jobs/{}", "/ui/?q={}"])
def test_what_ends_a_job_for_good_is_asked_for_twice_on_every_page(
    browser: httpx.Client, job_id: str, path: str
) -> None:
    (asked,) = re.findall(
        r'<details class="ask".*?</details>', shown(browser, path.format(job_id)), re.DOTALL
    )
    assert asked.index("Cancel…</summary>") < asked.index(f'action="/ui/jobs/{job_id}/cancel"')
    assert "<button" not in asked.partition("</summary>")[0]
    assert "Yes, end it for good" in asked


def test_the_page_is_readable_without_a_script(browser: httpx.Client, job_id: str) -> None:
    html = shown(browser, f"/ui/jobs/{job_id}")
    for text in (
        "Running",
        "step 30 of 100",
        "computing 100 % of the step",
        "Starting",
        "40.0 %",
        "it trains",
        "top-1 error 40.0 %, top-5 error 20.0 %, loss 1.25",
        "no comparison with them is claimed",
        "alexnet submit job.json",
        f"/jobs/{job_id}/checkpoints/30/download",
    ):
        assert text in html
    assert set(figures(html)) == {"loss", "errors", "phases", "throughput", "rate"}
    assert 'id="loss-rows"' in html


def test_a_job_that_lives_is_followed_and_one_that_has_ended_is_not(
    plane: ControlPlane, browser: httpx.Client, job_id: str
) -> None:
    html = shown(browser, f"/ui/jobs/{job_id}")
    assert f'data-live="/ui/live/jobs/{job_id}?charts=' in html
    job_in(plane.store, Status.CANCELLED, f"{job_id}x")
    assert "data-live" not in shown(browser, f"/ui/jobs/{job_id}x")


@pytest.mark.parametrize("status", Status)
def test_a_job_of_every_state_is_shown(
    plane: ControlPlane, browser: httpx.Client, status: Status
) -> None:
    job_in(plane.store, status, f"is{status.lower()}")
    assert status.capitalize() in shown(browser, f"/ui/jobs/is{status.lower()}")


def test_the_stream_sends_the_page_and_ends_with_the_job(
    plane: ControlPlane, browser: httpx.Client
) -> None:
    job_in(plane.store, Status.CANCELLED, "streamed")
    told = shown(browser, "/ui/live/jobs/streamed")
    assert re.findall(r"^event: (\w+)$", told, re.MULTILINE)[-1] == "ended"
    targets = re.findall(r'"target": "([\w-]+)"', told)
    assert targets == [
        "head",
        "timeline",
        "log_choice",
        "events",
        "result",
        "pictures",
        "sheet",
        "checkpoints",
        "log-text",
    ]


def test_what_others_wrote_is_inert(
    plane: ControlPlane, browser: httpx.Client, job_id: str
) -> None:
    spec = make_spec(data={"train": f"/d/{ATTACK}", "validation": "/v"}, model={"num_classes": 10})
    job_in(plane.store, Status.RUNNING, "attacked", spec=spec)
    plane.store.note_wait("attacked", ATTACK)
    skipped = SamplesSkipped(step=1, samples=(ATTACK,), reason=ATTACK, total=1)
    report(plane.store, "attacked", progress(1), skipped)
    printed(plane.settings.run_root / "attacked", 1, f"{ATTACK}\n")
    html = shown(browser, "/ui/jobs/attacked")
    assert "alert(1)" in html
    assert "<script>alert" not in html
    assert "<img src=x" not in html


def test_the_log_of_an_attempt_can_be_chosen(
    plane: ControlPlane, browser: httpx.Client, job_id: str
) -> None:
    html = shown(browser, f"/ui/jobs/{job_id}?attempt=1")
    assert f"/jobs/{job_id}/logs?attempt=1" in html
    assert "attempt=1" in re.findall(r'data-live="([^"]*)"', html)[0]
    assert browser.get(f"/ui/jobs/{job_id}?attempt=7").status_code == 404


def test_a_report_stands_beside_the_papers_rows(plane: ControlPlane, browser: httpx.Client) -> None:
    job_in(plane.store, Status.SUCCEEDED, "reported")
    run = plane.settings.run_root / "reported"
    run.mkdir()
    RunDirectory(run).report.write_text(training_report().model_dump_json())
    html = shown(browser, "/ui/jobs/reported")
    assert "Top-1 error 40.70 %" in html
    assert "Caffe&#39;s AlexNet" in html


def test_a_checkpoint_is_pinned_and_unpinned_by_its_buttons(
    plane: ControlPlane, browser: httpx.Client, job_id: str
) -> None:
    folder = RunDirectory(plane.settings.run_root / job_id).attempt(1).checkpoint(30)
    back = f"/ui/jobs/{job_id}#checkpoints"
    for mark, other in (("pin", "unpin"), ("unpin", "pin")):
        path = f"/ui/jobs/{job_id}/checkpoints/30/{mark}"
        assert path in shown(browser, f"/ui/jobs/{job_id}")
        answer = browser.post(path, data={"back": back})
        assert (answer.status_code, answer.headers["location"]) == (303, back)
        assert is_pinned(folder) is (mark == "pin")
        assert f"/checkpoints/30/{other}" in shown(browser, f"/ui/jobs/{job_id}")


def test_a_checkpoint_that_is_not_there_is_told_on_a_page(
    browser: httpx.Client, job_id: str
) -> None:
    answer = browser.post(f"/ui/jobs/{job_id}/checkpoints/31/pin", data={"back": "/ui/"})
    assert answer.status_code == 404
    assert "has no checkpoint after step 31" in answer.text


def test_pictures_are_shown_and_what_they_name_is_inert(
    plane: ControlPlane, browser: httpx.Client, job_id: str
) -> None:
    run = RunDirectory(plane.settings.run_root / job_id)
    for step in (10, 20):
        folder = run.attempt(1).pictures_at(step)
        folder.mkdir(parents=True)
        (folder / INDEX_NAME).write_text(drawn(step, name=ATTACK).model_dump_json())
    html = shown(browser, f"/ui/jobs/{job_id}")
    assert "step 20, epoch 2.00" in html
    assert "pictures/step-00000020/tower%200.png" in html
    assert f"/ui/jobs/{job_id}?step=10#pictures" in html
    assert "step 10, epoch 1.00" in shown(browser, f"/ui/jobs/{job_id}?step=10")
    part = shown(browser, f"/ui/jobs/{job_id}/guesses/10")
    for text in (html, part):
        assert "alert(1)" in text
        assert "<img src=x" not in text
    assert browser.get(f"/ui/jobs/{job_id}/guesses/11").status_code == 404


def test_a_run_directory_that_is_gone_hides_nothing_else(
    plane: ControlPlane, browser: httpx.Client, job_id: str
) -> None:
    shutil.rmtree(plane.settings.run_root / job_id)
    html = shown(browser, f"/ui/jobs/{job_id}")
    assert "step 30 of 100" in html


def test_there_is_no_page_of_a_job_that_there_is_not(browser: httpx.Client) -> None:
    answer = browser.get("/ui/jobs/none")
    assert answer.status_code == 404
    assert "text/html" in answer.headers["content-type"]
