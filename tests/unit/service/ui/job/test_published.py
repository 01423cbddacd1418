"""Which published results a job's errors stand beside."""

from dataclasses import replace
from pathlib import Path

from service.jobs.records import JobRecord
from service.ui.job.published import published_beside
from tests.unit.service.conftest import make_spec, write_manifest
from tests.unit.service.jobs.records import job as job_record
from tests.unit.trainer.contract.reports import FACTS, training_report
from trainer.contract.report import note_on_classes


def of(train: str = "/nowhere/manifest.json", **model: object) -> JobRecord:
    data = {"train": train, "validation": train}
    return replace(job_record(), spec=make_spec(data=data, model=model))


def test_a_report_on_the_papers_data_stands_beside_rows_of_one_such_network() -> None:
    found = published_beside(of(), training_report())
    assert [(row.network, row.protocol) for row in found.rows] == [
        ("1 CNN", "ten_view"),
        ("Caffe's AlexNet", "centre_crop"),
    ]
    assert found.note == ""


def test_a_sixth_convolution_stands_beside_that_of_the_paper() -> None:
    found = published_beside(of(sixth_conv=True), training_report())
    assert [row.network for row in found.rows] == ["1 CNN*"]


def test_other_classes_are_compared_with_nothing_and_the_note_says_why() -> None:
    other = FACTS.model_copy(update={"has_ilsvrc_classes": False, "num_classes": 10})
    for found in (
        published_beside(of(), training_report(data=other)),
        published_beside(of(num_classes=10), None),
    ):
        assert (found.rows, found.note) == ((), note_on_classes(10))


def test_a_job_that_runs_goes_by_its_manifest(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, num_classes=1000)
    found = published_beside(of(str(manifest)), None)
    assert (found.rows, found.note) == ((), note_on_classes(1000))


def test_what_is_not_known_is_said() -> None:
    found = published_beside(of(), None)
    assert found.rows == ()
    assert "is not known" in found.note
