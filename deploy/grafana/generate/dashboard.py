"""How every dashboard is put together: its panels in rows of 24 columns, its picker, its links."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana.generate.links import service_variable
from deploy.grafana.generate.panels import PROMETHEUS, Panel

JOBS = "label_values(alexnet_train_step, job_id)"


@dataclass(frozen=True)
class Section:
    """Panels that belong together, the most important first, below a heading."""

    title: str
    panels: Sequence[Panel]


def dashboard(
    uid: str,
    title: str,
    description: str,
    *,
    links: Sequence[DashboardLink],
    service_url: str,
    picker: QueryVariable | None,
    head: Sequence[Panel],
    sections: Sequence[Section],
) -> model.Dashboard:
    """Return a dashboard; `head` stands above all sections."""
    made = (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["alexnet"])
        .readonly()
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("10s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .links(list(links))
    )
    if picker is not None:
        made = made.with_variable(picker)
    made = made.with_variable(service_variable(service_url))
    number = 0
    for section in (Section("", head), *sections):
        if section.title:
            number += 1
            made = made.with_row(Row(section.title).id(number))
        for panel in section.panels:
            number += 1
            made = made.with_panel(panel.id(number))
    return made.build()


def job_picker(*, many: bool) -> QueryVariable:
    """Pick among the jobs that trained in the time that is shown; `many`: all of them at first."""
    picker = (
        QueryVariable("job")
        .label("Job")
        .description("Jobs that trained in the time that is shown.")
        .datasource(PROMETHEUS)
        .query({"query": JOBS, "refId": "job"})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    if many:
        everything = model.VariableOption(text=["All"], value=["$__all"])
        picker = picker.multi(True).include_all(True).all_value(".*").current(everything)
    return picker
