"""What a job came to, beside what is published. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.ui import formats
from trainer.contract.published import ComparedResult
from trainer.contract.report import CalibrationReport, EvaluationReport, Report, TrainingReport
from trainer.contract.report_text import (
    PROTOCOLS,
    calibration_facts,
    data_facts,
    difference,
    headline,
    network_name,
    per_cent,
    training_facts,
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the report."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_own: int = 0
    """How many of the first rows are this job's."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The report."""

    job_id: str
    headline: str
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


def result_of(report: Report | None) -> Result | None:
    """Put a report into words; None: there is none."""
    if report is None:
        return None
    return Result(
        job_id=report.job_id,
        headline=headline(report),
        notes=() if isinstance(report, CalibrationReport) else report.notes,
        tables=tuple(_tables(report)),
        facts=tuple(_facts(report)),
    )


def _facts(report: Report) -> list[tuple[str, str]]:
    if isinstance(report, CalibrationReport):
        return calibration_facts(report)
    training = training_facts(report) if isinstance(report, TrainingReport) else []
    return [*training, *(data_facts(report.data) if report.data is not None else ())]


def _tables(report: Report) -> Sequence[Table]:
    match report:
        case TrainingReport():
            return [*_comparison(report), *_ablations(report)]
        case EvaluationReport():
            return [*_comparison(report), _networks(report)]
        case CalibrationReport():
            return []


def _comparison(report: TrainingReport | EvaluationReport) -> list[Table]:
    if not report.comparison:
        return []
    return [
        Table(
            title="Beside what is published",
            columns=("Network", "Views", "Measured on", "Top-1 error", "Top-5 error", "Source"),
            rows=tuple(_compared(row) for row in report.comparison),
            num_own=sum(row.source == "this job" for row in report.comparison),
        )
    ]


def _compared(row: ComparedResult) -> tuple[str, ...]:
    errors = (row.top1_error, row.top5_error)
    return (
        row.network,
        PROTOCOLS[row.protocol],
        row.measured_on,
        *(per_cent(error) or formats.NONE for error in errors),
        row.source,
    )


def _ablations(report: TrainingReport) -> Sequence[Table]:
    if not report.ablations:
        return []
    rows = tuple(
        (
            one.change,
            difference(one.top1_difference, one.precision),
            difference(one.top5_difference) or formats.NONE,
            one.source,
        )
        for one in report.ablations
    )
    columns = ("Change", "Points of top-1 error", "Points of top-5 error", "Source")
    return [Table(title="What is published of these changes", columns=columns, rows=rows)]


def _networks(report: EvaluationReport) -> Table:
    rows = tuple(
        (
            network_name(one.model),
            one.job_id,
            formats.count(one.step),
            per_cent(1 - one.top1, 2),
            per_cent(1 - one.top5, 2),
        )
        for one in report.networks
    )
    columns = ("Network", "Job", "Step", "Top-1 error", "Top-5 error")
    return Table(title="The networks, each alone", columns=columns, rows=rows)
