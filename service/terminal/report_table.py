"""A report as tables for the terminal."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainer.contract.published import COMPARED_SET, ComparedResult, PublishedAblation
from trainer.contract.report import CalibrationReport, EvaluationReport, Report, TrainingReport
from trainer.contract.report_text import (
    PROTOCOLS,
    calibration_facts,
    data_facts,
    difference,
    headline,
    network_name,
    printable,
    training_facts,
)


def report_table(report: Report) -> Group:
    """Ours and what is published of it, then how it was reached; for 80 columns."""
    return Group(*_parts(report))


def _parts(report: Report) -> Iterator[RenderableType]:
    yield Text(f"{report.name} ({report.job_id})", style="bold")
    yield Text(headline(report))
    if isinstance(report, CalibrationReport):
        yield Text()
        yield _facts(calibration_facts(report))
        return
    for note in report.notes:
        yield Text(note, style="yellow")
    if report.comparison:
        yield Text()
        yield _comparison(report.comparison)
    yield Text()
    if isinstance(report, TrainingReport):
        yield _facts(training_facts(report))
        if report.ablations:
            yield Text()
            yield _ablations(report.ablations)
    else:
        yield _networks(report)
    if report.data is not None:
        yield Text()
        yield _facts(data_facts(report.data))


def _comparison(rows: Sequence[ComparedResult]) -> Table:
    table = _table("NETWORK", "PROTOCOL", "TOP-1 ERROR", "TOP-5 ERROR", "SOURCE")
    for row in rows:
        ours = row.source == "this job"
        table.add_row(
            Text(row.network),
            PROTOCOLS[row.protocol],
            _error(row.top1_error),
            _error(row.top5_error),
            Text(row.source),
            style="bold" if ours else None,
        )
    table.caption = f"per cent, in brackets the accuracy; published of {COMPARED_SET}"
    table.caption_justify = "left"
    return table


def _error(error: float | None) -> Text:
    if error is None:
        return Text()
    return Text(f"{100 * error:.1f} ({100 * (1 - error):.1f})")


def _ablations(ablations: Sequence[PublishedAblation]) -> Table:
    table = _table("PUBLISHED OF THIS CHANGE", "TOP-1 ERROR", "TOP-5 ERROR", "SOURCE")
    for one in ablations:
        table.add_row(
            one.change,
            difference(one.top1_difference, one.precision),
            difference(one.top5_difference),
            one.source,
        )
    return table


def _networks(report: EvaluationReport) -> Table:
    table = _table("NETWORK", "TOP-1 ERROR", "TOP-5 ERROR", "JOB", "STEP")
    for one in report.networks:
        table.add_row(
            network_name(one.model),
            _error(1 - one.top1),
            _error(1 - one.top5),
            Text(printable(one.job_id)),
            str(one.step),
        )
    return table


def _facts(facts: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(value))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
