import json

import pytest
from pydantic import ValidationError

from tests.unit.trainer.contract.reports import (
    FACTS,
    RESULTS,
    calibration_report,
    evaluation_report,
    training_report,
)
from trainer.contract.model_spec import ModelSpec
from trainer.contract.published import compared
from trainer.contract.report import (
    Report,
    TrainingReport,
    compare,
    notes_on,
    notes_on_ensemble,
    notes_on_skipped,
    parse_report,
)

# As release 0.1 wrote it.
OLD = {
    "job_id": "a",
    "name": "old",
    "attempts": 1,
    "steps": 100,
    "epochs": 2.0,
    "top1": 0.8,
    "top5": 0.9,
    "validation_loss": 0.5,
    "validation_samples": 1000,
    "images_per_second": 500.0,
    "seconds": 60.0,
    "steps_redone": 0,
    "samples_presented": 6400,
    "samples_skipped": 0,
    "checkpoints": ["attempts/0001/checkpoints/step-00000100"],
    "weights_sha256": "0" * 64,
}


@pytest.mark.parametrize("report", [training_report(), evaluation_report(), calibration_report()])
def test_what_is_read_is_what_was_written(report: Report) -> None:
    assert parse_report(report.model_dump_json()) == report


def test_a_report_of_the_first_release_is_still_read() -> None:
    report = parse_report(json.dumps(OLD))
    assert isinstance(report, TrainingReport)
    assert (report.protocol, report.top1, report.comparison) == ("centre_crop", 0.8, ())


@pytest.mark.parametrize("text", ["{", "{}", "[]", "null", '{"kind": "other"}'])
def test_anything_else_is_no_report(text: str) -> None:
    with pytest.raises(ValidationError):
        parse_report(text)


def test_ours_come_first_the_protocol_of_the_spec_at_the_top() -> None:
    ten, centre, *published = compare("1 CNN", 1, RESULTS, FACTS)
    assert (ten.protocol, centre.protocol) == ("ten_view", "centre_crop")
    assert [ten.top1_error, centre.top1_error] == pytest.approx([0.407, 0.425])
    assert {ten.source, centre.source} == {"this job"}
    assert ten.measured_on == "ILSVRC-2012 validation"
    assert tuple(published) == compared()


def test_on_the_papers_own_data_nothing_keeps_from_comparing() -> None:
    assert notes_on(FACTS, 50_000, [ModelSpec(), ModelSpec(recipe="source2012")]) == ()


@pytest.mark.parametrize(
    ("changes", "num_samples", "note"),
    [
        (
            {"has_ilsvrc_classes": False, "num_classes": 10},
            1000,
            "The 10 classes of these data are not the 1,000 of ILSVRC-2012",
        ),
        ({"num_training_images": 1000}, 50_000, "1,281,167 images, data.train holds 1,000"),
        ({}, 49_999, "50,000 validation images, 49,999 were measured here"),
        ({"image_size": 300}, 50_000, "images of 256 pixels, these have 300"),
    ],
)
def test_what_keeps_from_comparing_is_said(
    changes: dict[str, object], num_samples: int, note: str
) -> None:
    data = FACTS.model_copy(update=changes)
    (said,) = notes_on(data, num_samples, [ModelSpec()])
    assert note in said
    (ours, *_) = compare("1 CNN", 1, RESULTS[:1], data)
    of_ilsvrc = ours.measured_on == "ILSVRC-2012 validation"
    assert of_ilsvrc == data.has_ilsvrc_classes


@pytest.mark.parametrize(("num_outputs", "is_said"), [(5, True), (6, False)])
def test_top_5_of_five_classes_is_said_to_say_nothing(num_outputs: int, is_said: bool) -> None:
    notes = notes_on(FACTS, 50_000, [ModelSpec(), ModelSpec(num_classes=num_outputs)])
    said = "Five guesses of 5 classes are always right: the top-5 error says nothing."
    assert notes == ((said,) if is_said else ())


def test_a_cnn_with_a_star_is_told_from_the_published_one() -> None:
    models = [ModelSpec(), ModelSpec(sixth_conv=True)]
    (said,) = notes_on(FACTS, 50_000, models)
    assert said.startswith("The published CNN* learned the categories of ImageNet's Fall 2011")
    other = FACTS.model_copy(update={"has_ilsvrc_classes": False})
    assert said not in notes_on(other, 50_000, models)


def test_a_network_that_is_named_again_is_said_to_count_again() -> None:
    assert notes_on_ensemble(["a"]) == notes_on_ensemble(["a", "b"]) == ()
    (said,) = notes_on_ensemble(["a", "a", "b"])
    assert said.startswith("Of the 3 networks 2 are different")
    (said,) = notes_on_ensemble(["a", "a"])
    assert said.startswith("Of the 2 networks 1 is different")


def test_what_could_not_be_measured_is_said() -> None:
    assert notes_on_skipped({}) == ()
    assert notes_on_skipped({"broken": 1}) == (
        "1 validation image could not be read and was not measured: 1 broken.",
    )
    assert notes_on_skipped({"broken": 1, "too_many_pixels": 2}) == (
        "3 validation images could not be read and were not measured: 2 too many pixels, 1 broken.",
    )


def test_a_network_that_is_not_the_papers_is_said_to_be_none() -> None:
    small = ModelSpec(width=0.25, input_size=64, recipe="source2012")
    # Each once, however many of an ensemble are alike.
    assert notes_on(FACTS, 50_000, [small, ModelSpec(lrn=False), ModelSpec(), small]) == (
        "The network is not the paper's: width is 0.25, input_size is 64.",
        "The network is not the paper's: lrn is False.",
    )
