"""What a job came to."""

from service.ui.job.result import result_of
from tests.unit.trainer.contract.reports import (
    calibration_report,
    evaluation_report,
    training_report,
)


def test_a_training_stands_beside_the_papers_rows_its_own_first() -> None:
    told = result_of(training_report())
    assert told is not None
    comparison, ablations = told.tables
    assert comparison.num_own == 2
    assert comparison.rows[0][3:] == ("40.7 %", "18.2 %", "this job")
    assert ("1 CNN", "ten views") in [row[:2] for row in comparison.rows[2:]]
    assert ablations.rows[0][0] == "no LRN"
    assert told.headline.startswith("Top-1 error 40.70 %")
    assert ("attempts", "2") in told.facts


def test_an_ensemble_tells_of_its_networks() -> None:
    told = result_of(evaluation_report(2))
    assert told is not None
    assert [row[0] for row in told.tables[-1].rows] == ["CNN", "CNN*"]


def test_a_calibration_is_compared_with_nothing() -> None:
    told = result_of(calibration_report())
    assert told is not None
    assert (told.tables, told.notes) == ((), ())
    assert told.facts


def test_every_row_has_a_cell_for_each_column() -> None:
    for report in (training_report(), evaluation_report()):
        told = result_of(report)
        assert told is not None
        assert all(len(row) == len(table.columns) for table in told.tables for row in table.rows)


def test_without_a_report_there_is_nothing() -> None:
    assert result_of(None) is None
