"""The Fleet dashboard: every job, the service itself, and the nodes below it."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.generate import colours
from deploy.grafana.generate.alerts import (
    MAX_ERROR_RATIO,
    MAX_QUEUE_S,
)
from deploy.grafana.generate.colours import ORANGE, RED
from deploy.grafana.generate.dashboard import Section, dashboard
from deploy.grafana.generate.links import (
    DATA,
    JOB,
    PAGE,
    job_of_series,
    to_dashboard,
    to_page,
)
from deploy.grafana.generate.node_panels import nodes
from deploy.grafana.generate.panels import Panel, Query, series, stat
from deploy.grafana.generate.rules import (
    ERROR_RATIO,
    QUEUE_P50,
    QUEUE_P95,
)
from deploy.grafana.generate.service_panels import FIRING, api, service

# Every control plane tells what is in the store, so that is taken once, not added up.
IMAGES_PER_SECOND = "max by (job_id) (alexnet_train_images_per_second)"
LIVE = 'alexnet_jobs{status!~"SUCCEEDED|FAILED|CANCELLED"}'
RESTARTS = "max by (reason) (increase(alexnet_job_restarts_total[1h]))"
EVER_RESTARTED = "max by (reason) (alexnet_job_restarts_total) > 0"
GPU_BUSY = "ray_node_gpus_utilization / 100"
NO_GPU = "no GPU"


def fleet(service_url: str) -> Dashboard:
    """Return it."""
    return dashboard(
        "alexnet-fleet",
        "AlexNet: Fleet",
        "All jobs of the service, the service itself, and the nodes that it trains on.",
        links=[
            to_dashboard("Job", JOB),
            to_dashboard("Data", DATA),
            to_page("Page of the service", f"{PAGE}/"),
        ],
        service_url=service_url,
        picker=None,
        head=_head(),
        sections=[
            Section("Jobs", _jobs()),
            Section("API", api()),
            Section("Service", service()),
            Section("Nodes", nodes()),
        ],
    )


def _ended(outcomes: str, span: str) -> str:
    counted = f'alexnet_jobs_finished_total{{outcome=~"{outcomes}"}}'
    return f"max by (outcome) (increase({counted}[{span}]))"


def _head() -> list[Panel]:
    succeeded = f"sum({_ended('SUCCEEDED', '1d')})"
    decided = f"(sum({_ended('SUCCEEDED|FAILED', '1d')}) > 0)"
    return [
        stat(
            "Running",
            "Jobs whose attempt reports steps.",
            'max(alexnet_jobs{status="RUNNING"})',
            unit=units.Short,
            width=3,
        ),
        stat(
            "Queued",
            "Jobs that wait for devices.",
            'max(alexnet_jobs{status="QUEUED"})',
            unit=units.Short,
            width=3,
        ),
        stat(
            "Success rate",
            "Of the jobs that succeeded or failed within a day; those that were cancelled count "
            "for neither.",
            f"{succeeded} / {decided}",
            unit=units.PercentUnit,
            width=3,
            none="none ended",
            bounds={0: RED, 0.8: ORANGE, 0.95: colours.GREEN},
            decimals=0,
        ),
        stat(
            "Queue p95",
            "Of the jobs that were admitted within an hour, 95 % waited no longer.",
            QUEUE_P95,
            unit=units.Seconds,
            width=3,
            none="none begun",
            bounds={MAX_QUEUE_S / 4: ORANGE, MAX_QUEUE_S: RED},
        ),
        stat(
            "Images/s",
            "Trained by all jobs together.",
            f"sum({IMAGES_PER_SECOND})",
            unit=units.Short,
            width=3,
            none="0",
        ),
        stat(
            "GPU busy",
            "Mean share of time in which the GPUs of all nodes compute.",
            f"avg({GPU_BUSY})",
            unit=units.PercentUnit,
            width=3,
            none=NO_GPU,
            decimals=0,
        ),
        stat(
            "API errors",
            "Share of requests that were answered with an error of the service's (5xx), within "
            "five minutes.",
            ERROR_RATIO,
            unit=units.PercentUnit,
            width=3,
            bounds={MAX_ERROR_RATIO / 5: ORANGE, MAX_ERROR_RATIO: RED},
        ),
        stat(
            "Alerts",
            "That fire now; the table below names them.",
            f"count({FIRING}) or vector(0)",
            unit=units.Short,
            width=3,
            bounds={1: RED},
        ),
    ]


def _jobs() -> list[Panel]:
    return [
        series(
            "Jobs by status",
            "Jobs that have not ended.",
            Query(f"max by (status) ({LIVE})", "{{status}}"),
            unit=units.Short,
            colours=colours.OF_STATUS,
            stacked=True,
        ),
        series(
            "Images/s by job",
            "Of jobs that train now. A click on a curve leads to its job.",
            Query(IMAGES_PER_SECOND, "{{job_id}}"),
            unit=units.Short,
            stacked=True,
            links=job_of_series(),
        ),
        series(
            "GPU busy by node",
            "Mean share of time in which a node's GPUs compute; empty where no node has any.",
            Query(f"avg by (ip) ({GPU_BUSY})", "{{ip}}"),
            unit=units.PercentUnit,
            share=True,
        ),
        series(
            "Time in the queue",
            "From acceptance to admission, of the jobs that were admitted within the last hour; "
            "and for how long the job waits now that waits longest.",
            Query(QUEUE_P50, "p50"),
            Query(QUEUE_P95, "p95"),
            Query("max(alexnet_job_queue_age_seconds)", "longest now"),
            unit=units.Seconds,
            width=6,
            colours=colours.OF_QUANTILES,
            bound=(MAX_QUEUE_S, RED),
        ),
        series(
            "Ended in an hour",
            "Jobs by outcome, within the hour before each moment.",
            Query(_ended(".*", "1h"), "{{outcome}}"),
            unit=units.Short,
            width=6,
            colours=colours.OF_STATUS,
            stacked=True,
        ),
        series(
            "Restarts in an hour",
            "Attempts that followed on one that failed, by its reason, within the hour before each "
            "moment; of reasons that there have been.",
            Query(f"{RESTARTS} and ({EVER_RESTARTED})", "{{reason}}"),
            unit=units.Short,
            width=6,
            stacked=True,
        ),
        series(
            "Losses without a number",
            "Jobs that ended as a loss was not finite, within the hour before each moment.",
            Query("max(increase(alexnet_train_nonfinite_steps_total[1h]))", "jobs"),
            unit=units.Short,
            width=6,
            colours={"jobs": RED},
        ),
    ]
