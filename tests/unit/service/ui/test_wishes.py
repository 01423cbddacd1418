"""The buttons of a job, over real HTTP."""

import httpx
import pytest

from service.control_plane import ControlPlane
from tests.unit.service.conftest import job_in
from tests.unit.service.guarded import Guarded
from trainer.contract.status import Desired, Status


@pytest.mark.parametrize(
    ("wish", "status", "desired"),
    [
        ("pause", Status.RUNNING, Desired.PAUSE),
        ("resume", Status.PAUSED, Desired.RUN),
        ("cancel", Status.QUEUED, Desired.CANCEL),
    ],
)
def test_a_button_writes_down_what_is_wanted_and_leads_back(
    browser: httpx.Client, plane: ControlPlane, wish: str, status: Status, desired: Desired
) -> None:
    job_in(plane.store, status, f"to-{wish}")
    answer = browser.post(f"/ui/jobs/to-{wish}/{wish}", data={"back": "/ui/?q=a"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/?q=a")
    assert plane.store.job(f"to-{wish}").desired is desired


def test_it_leads_nowhere_else(browser: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "back")
    answer = browser.post("/ui/jobs/back/pause", data={"back": "https://evil.example/"})
    assert answer.headers["Location"] == "/ui/"


def test_what_is_too_late_is_told_on_a_page(browser: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.SUCCEEDED, "done")
    answer = browser.post("/ui/jobs/done/pause")
    assert answer.status_code == 409
    assert "nothing can change it any more" in answer.text


@pytest.mark.parametrize("path", ["/ui/jobs/none/pause", "/ui/jobs/none/cancel"])
def test_there_is_nothing_to_ask_of_no_job(browser: httpx.Client, path: str) -> None:
    assert browser.post(path).status_code == 404


def test_other_wishes_there_are_none(browser: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.QUEUED, "wishes")
    assert browser.post("/ui/jobs/wishes/delete").status_code in {404, 422}


def test_others_jobs_are_left_alone(guarded: Guarded) -> None:
    job_in(guarded.plane.store, Status.RUNNING, "others")
    assert guarded.ann.post("/ui/jobs/others/cancel").status_code == 403
    assert guarded.plane.store.job("others").desired is Desired.RUN


@pytest.mark.parametrize("body", [b"\xff=\xff", b"&".join(b"a=1" for _ in range(200))])
def test_what_is_no_form_is_refused(
    browser: httpx.Client, plane: ControlPlane, body: bytes
) -> None:
    job_in(plane.store, Status.RUNNING, f"form{len(body)}")
    assert browser.post(f"/ui/jobs/form{len(body)}/pause", content=body).status_code == 422
