from pathlib import Path

import httpx
import pytest

from service.control_plane import ControlPlane
from tests.unit.service.conftest import job_in
from tests.unit.trainer.contract.reports import (
    calibration_report,
    evaluation_report,
    training_report,
)
from trainer.contract.report import Report, parse_report
from trainer.contract.report_text import to_markdown
from trainer.contract.status import Status


def _write(plane: ControlPlane, job_id: str, report: Report) -> Path:
    folder = plane.settings.run_root / job_id
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(report.model_dump_json())
    return folder


@pytest.mark.parametrize(
    ("job_id", "report"),
    [
        ("trained", training_report()),
        ("evaluated", evaluation_report()),
        ("calibrated", calibration_report()),
    ],
)
def test_a_report_is_json_or_markdown(
    http: httpx.Client, plane: ControlPlane, job_id: str, report: Report
) -> None:
    job_in(plane.store, Status.SUCCEEDED, job_id)
    _write(plane, job_id, report)
    for headers in ({}, {"Accept": "application/json"}, {"Accept": "*/*"}):
        answer = http.get(f"/jobs/{job_id}/report", headers=headers)
        assert answer.headers["Content-Type"] == "application/json"
        assert parse_report(answer.content) == report
    answer = http.get(f"/jobs/{job_id}/report", headers={"Accept": "text/markdown"})
    assert answer.headers["Content-Type"].startswith("text/markdown")
    assert answer.text == to_markdown(report)
    # The job shows the same.
    assert http.get(f"/jobs/{job_id}").json()["report"]["kind"] == report.kind


def test_until_there_is_a_report_it_is_a_404_problem(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.RUNNING, "running")
    # Of an attempt that died before it could say that it succeeded.
    _write(plane, "running", training_report())
    for accept in ("application/json", "text/markdown"):
        answer = http.get("/jobs/running/report", headers={"Accept": accept})
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"].startswith("job running has no report: it is RUNNING")


def test_a_report_that_cannot_be_read_is_none(http: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.SUCCEEDED, "torn")
    folder = _write(plane, "torn", training_report())
    (folder / "report.json").write_text("{")
    answer = http.get("/jobs/torn/report")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("the report of job torn is not in its run directory")
