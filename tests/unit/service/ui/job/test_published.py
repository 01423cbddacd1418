"""Which published results a job's errors stand beside."""

from dataclasses import replace
from pathlib import Path

import pytest

from data_shards.manifest import Manifest, ManifestError
from service.jobs.records import JobRecord
from service.ui.job import published
from service.ui.job.published import Classes, Published, published_beside
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


def test_of_what_is_not_known_nothing_is_said() -> None:
    assert published_beside(of(), None) == Published()


def test_a_manifest_that_cannot_be_read_is_tried_again_in_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, read = [0.0], list[str]()

    def away(location: str) -> Manifest:
        read.append(location)
        raise ManifestError("away")

    monkeypatch.setattr(published, "read_manifest", away)
    classes = Classes(clock=lambda: now_s[0])
    for now_s[0] in (0.0, 59.0):
        published_beside(of(), None, classes=classes)
    assert len(read) == 1
    now_s[0] = 60.0
    published_beside(of(), None, classes=classes)
    assert len(read) == 2


def test_a_look_that_may_not_read_goes_by_what_was_read_before(tmp_path: Path) -> None:
    manifest, classes = write_manifest(tmp_path, num_classes=1000), Classes()
    record = of(str(manifest))
    assert published_beside(record, None, may_read=False, classes=classes) == Published()
    read = published_beside(record, None, classes=classes)
    assert published_beside(record, None, may_read=False, classes=classes) == read != Published()
