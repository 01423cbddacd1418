"""`alexnet history`: how loss and rates of a job went, as a table."""

from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table

from service.client.client import Client
from service.client.jobs import DEFAULT_URL
from service.terminal.options import AsJson, JobId, Url, console, print_answer
from service.views.history import MetricHistory
from trainer.contract.report_text import PROTOCOLS


def history(
    job_id: JobId,
    *,
    first: Annotated[int | None, typer.Option("--from", min=0, help="First step to show.")] = None,
    last: Annotated[int | None, typer.Option("--to", min=0, help="Last step to show.")] = None,
    points: Annotated[int, typer.Option(min=1, max=2000, help="At most so many rows.")] = 20,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show how loss and images/s of a job went by step.

    Then what its evaluations came to. Where there are more steps than rows, each row stands for
    several, by their mean; with --json by their least and greatest too.
    """
    with Client(url) as client:
        found = client.history(job_id, first=first, last=last, points=points)
    shown = history_table(found) if found.points or found.evaluations else "no steps yet"
    print_answer(found, as_json, lambda: console.print(shown))


def history_table(history: MetricHistory) -> Group:
    """One row a point, then one row an evaluation."""
    points = Table(box=None, pad_edge=False)
    for heading in ("STEP", "EPOCH", "LOSS", "IMAGES/S"):
        points.add_column(heading, justify="right")
    for point in history.points:
        points.add_row(
            f"{point.step:,}",
            f"{point.epoch:.2f}",
            f"{point.values['loss'].mean:.4f}",
            f"{point.values['images_per_second'].mean:,.0f}",
        )
    if not history.evaluations:
        return Group(points)
    evaluations = Table(box=None, pad_edge=False)
    for heading in ("STEP", "EPOCH", "LOSS", "TOP-1", "TOP-5"):
        evaluations.add_column(heading, justify="right")
    evaluations.add_column("PROTOCOL")
    for one in history.evaluations:
        evaluations.add_row(
            f"{one.step:,}",
            f"{one.epoch:.2f}",
            f"{one.loss:.4f}",
            f"{one.top1:.2%}",
            f"{one.top5:.2%}",
            PROTOCOLS[one.protocol],
        )
    return Group(points, "", evaluations)
