import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.contract.reports import (
    FACTS,
    calibration_report,
    evaluation_report,
    training_report,
)
from trainer.contract.checkpoint import StartedFrom
from trainer.contract.report import Report, notes_on
from trainer.contract.report_text import difference, per_cent, printable, to_markdown


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _section(report: Report, heading: str) -> str:
    """Return what stands below a heading, up to the next one."""
    _, _, below = to_markdown(report).partition(f"## {heading}\n")
    return below.partition("\n## ")[0]


def test_the_result_is_the_first_thing_said() -> None:
    title, _, headline, *_ = to_markdown(training_report()).splitlines()
    assert title == r"# Training: the \*paper\* (0123456789ab)"
    assert headline == (
        "Top-1 error 40.70 %, top-5 error 18.20 % (accuracy 59.30 % and 81.80 %): "
        "ten views, 50,000 images."
    )


def test_ours_stand_beside_the_papers() -> None:
    table = [
        _cells(line)
        for line in _section(training_report(), "Beside what is published").splitlines()
        if line.startswith("|")
    ]
    headings, _, ten, centre, first, *_ = table
    assert headings[:3] == ["network", "protocol", "measured on"]
    errors = ["40.7 %", "18.2 %", "59.3 %", "81.8 %"]
    assert ten == ["1 CNN", "ten views", "ILSVRC-2012 validation", *errors, "this job"]
    assert centre[1] == "centre crop"
    assert first == [*ten[:7], "the paper, Table 2"]


def test_notes_stand_above_the_rows_they_are_about() -> None:
    data = FACTS.model_copy(update={"has_ilsvrc_classes": False, "num_classes": 10})
    report = training_report(data=data, notes=notes_on(data, 53, []))
    section = _section(report, "Beside what is published")
    assert section.index("> The 10 classes of these data") < section.index("| network |")


def test_training_tells_both_protocols_and_the_best_epoch() -> None:
    section = _section(training_report(), "Training")
    assert "| accuracy, centre crop | top-1 57.50 %, top-5 80.00 % |" in section
    assert "| accuracy, ten views | top-1 59.30 %, top-5 81.80 % |" in section
    assert "| best epoch | 88.00: top-1 57.60 %, centre crop |" in section


def test_fine_tuning_tells_where_it_began() -> None:
    began = StartedFrom(
        checkpoint="/runs/a/step-00000900",
        job_id="a",
        step=900,
        weights_sha256="e" * 64,
        new_layers=("fc8",),
    )
    section = _section(training_report(started_from=began), "Training")
    assert "| began with | the weights of a after 900 steps; new layers: fc8 |" in section
    assert "began with" not in to_markdown(training_report())


def test_skipped_samples_are_told_with_their_reasons() -> None:
    reasons = {"broken": 30, "not_an_image": 60}
    text = to_markdown(training_report().model_copy(update={"skipped_by_reason": reasons}))
    assert "90 (60 not an image, 30 broken)" in text
    # Release 0.1 had no reasons.
    assert "90 (unreadable)" in to_markdown(training_report())


def test_an_ablation_has_what_is_published_of_it() -> None:
    section = _section(training_report(), "What is published of these changes")
    assert "| no LRN | +1.4 | +1.2 | the paper, section 3.3 |" in section
    assert "What is published" not in to_markdown(training_report(ablations=()))


def test_an_ensemble_tells_each_of_its_networks() -> None:
    report = evaluation_report(7)
    assert "ten views, 50,000 images, 7 networks." in to_markdown(report)
    rows = [_cells(line) for line in _section(report, "The networks, each alone").splitlines()]
    names = [row[0] for row in rows if len(row) == 6][2:]
    assert names == ["CNN"] * 6 + [r"CNN\*"]


def test_a_calibration_tells_how_fast_it_was_and_where_the_time_went() -> None:
    title, _, headline, *rest = to_markdown(calibration_report()).splitlines()
    assert title == r"# Calibration: calibration of the \*paper\* (0123456789ab)"
    assert headline == (
        "12,800.0 images/s with 4 replicas on gpu, 25 % of the time spent waiting for data."
    )
    rows = [_cells(line) for line in rest if line.startswith("|")][2:]
    assert rows == [
        ["steps", "1,000 in 10.0 s"],
        ["warm-up", "20 steps, which are left out"],
        ["images", "128,000"],
        ["backward", "5.0 ms of a step, 50 %"],
        ["data wait", "2.5 ms of a step, 25 %"],
        ["all reduce", "2.5 ms of a step, 25 %"],
    ]


def test_other_peoples_words_are_never_read_as_markdown() -> None:
    text = to_markdown(training_report())
    assert r"gold\|fish, \<shark\>" in text
    assert "| gold" not in text


def test_a_report_of_the_first_release_has_no_more_than_it_says() -> None:
    old = training_report(data=FACTS, comparison=(), ablations=(), notes=(), results=())
    text = to_markdown(old.model_copy(update={"data": None, "best_epoch": None}))
    assert "published" not in text
    assert "## Data" not in text


@pytest.mark.parametrize(
    ("share", "precision", "text"),
    [
        (0.017, "measured", "+1.7"),
        (0.01, "more than", "more than +1.0"),
        (0.02, "about", "about +2.0"),
        (None, "measured", ""),
    ],
)
def test_differences_are_percentage_points(share: float | None, precision: str, text: str) -> None:
    assert difference(share, precision) == text
    assert per_cent(0.407) == "40.7 %"
    assert per_cent(None) == ""


@given(st.text())
def test_other_peoples_words_are_printed_and_never_obeyed(text: str) -> None:
    told = printable(text)
    assert told.isprintable()
    assert len(told) <= 200


def test_what_is_printable_is_printed_as_it_is() -> None:
    words = "great white shark, Carcharodon carcharias; ガー"
    assert printable(words) == words
    assert printable("\x1b[31mred\r\n") == "[31mred"
