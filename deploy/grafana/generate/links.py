"""Where the dashboards lead: to each other, and to the service's own page."""

from grafana_foundation_sdk.builders.dashboard import DashboardLink, TextBoxVariable
from grafana_foundation_sdk.models.dashboard import VariableOption

FLEET = "/d/alexnet-fleet"
JOB = "/d/alexnet-job"
DATA = "/d/alexnet-data"
# Raw, as an address is no part of another one's path.
PAGE = "${service:raw}/ui"
PAGE_OF_JOB = f"{PAGE}/jobs/${{job:raw}}"


def service_variable(url: str) -> TextBoxVariable:
    """Where browsers reach the service: it goes from dashboard to dashboard with the links."""
    return (
        TextBoxVariable("service")
        .label("Service")
        .description("Where your browser reaches the service, for links to its page.")
        .default_value(url)
        .current(VariableOption(text=url, value=url, selected=True))
    )


def to_dashboard(title: str, path: str) -> DashboardLink:
    """Lead to another dashboard, at the same time and with the same variables."""
    return DashboardLink(title).url(path).icon("dashboard").keep_time(True).include_vars(True)


def to_page(title: str, url: str) -> DashboardLink:
    """Lead to the service's own page."""
    return DashboardLink(title).url(url).icon("external link").target_blank(True)


def job_of_series() -> list[DashboardLink]:
    """Where a click on a job's series leads."""
    job_id = "${__field.labels.job_id}"
    return [
        DashboardLink(f"Dashboard of {job_id}").url(
            f"{JOB}?var-job={job_id}&var-service=${{service:percentencode}}&${{__url_time_range}}"
        ),
        DashboardLink(f"Page of {job_id}").url(f"{PAGE}/jobs/{job_id}").target_blank(True),
    ]
