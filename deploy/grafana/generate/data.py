"""The Data dashboard: whether images come as fast as they are trained, and where not, why."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.generate import colours
from deploy.grafana.generate.alerts import MAX_DATA_STALL
from deploy.grafana.generate.colours import ORANGE, RED
from deploy.grafana.generate.dashboard import Section, dashboard, job_picker
from deploy.grafana.generate.links import (
    FLEET,
    JOB,
    PAGE,
    job_of_series,
    to_dashboard,
    to_page,
)
from deploy.grafana.generate.panels import Panel, Query, series, stat
from deploy.grafana.generate.rules import DATA_STALL

SAMPLES = 'ray_alexnet_data_samples_total{job_id=~"$job"}'
SAMPLES_RATE = f"rate({SAMPLES}[$__rate_interval])"
# Most of these series say nothing of their job, but their process does.
OF_JOBS = f"and on (WorkerId) {SAMPLES}"
STALL = f'{DATA_STALL}{{job_id=~"$job"}}'
READ = "ray_alexnet_data_read_bytes_total"
CACHE = "ray_alexnet_data_cache_requests_total"
HITS = (
    "Share of the bytes read of the node's copies of shards for which nothing was fetched, over "
    "five minutes"
)
SKIPPED = "sum by (reason) (increase(alexnet_data_skipped_samples_total[1h]))"
LOCAL = "where all shards are local there is none"


def data(service_url: str) -> Dashboard:
    """Return it."""
    return dashboard(
        "alexnet-data",
        "AlexNet: Data",
        "How images reach the replicas: how many, from where, and what that takes.",
        links=[
            to_dashboard("Fleet", FLEET),
            to_dashboard("Job", JOB),
            to_page("Page of the service", f"{PAGE}/"),
        ],
        service_url=service_url,
        picker=job_picker(many=True),
        head=_head(),
        sections=[
            Section("Feed", _feed()),
            Section("Work", _work()),
            Section("Losses and cache", _losses()),
        ],
    )


def _rate(metric: str, *labels: str) -> str:
    return f"sum by ({', '.join(labels)}) (rate({metric}[$__rate_interval]) {OF_JOBS})"


def _hits() -> str:
    # In bytes: a shard that is fetched is opened by each loader, and counts as a hit of each.
    fetched, read = (
        f'sum(rate({READ}{{source="{source}"}}[5m]) {OF_JOBS})' for source in ("remote", "cache")
    )
    return f"clamp_min(1 - {fetched} / ({read} > 0), 0)"


def _head() -> list[Panel]:
    seconds = _rate("ray_alexnet_data_stage_seconds_total")
    return [
        stat(
            "Images/s",
            "That loaders hand to the replicas.",
            f"sum({SAMPLES_RATE})",
            unit=units.Short,
            width=4,
        ),
        stat(
            "Worst stall",
            "Share of its time that the replica which waits longest waits for data.",
            f"max({STALL})",
            unit=units.PercentUnit,
            width=4,
            bounds={MAX_DATA_STALL / 2: ORANGE, MAX_DATA_STALL: RED},
            decimals=0,
        ),
        stat(
            "Work an image",
            "Seconds of a loader's process that an image takes, all stages together.",
            f"{seconds} / (sum({SAMPLES_RATE}) > 0)",
            unit=units.Seconds,
            width=4,
        ),
        stat(
            "Read",
            "Bytes of shards a second, from wherever they lie.",
            _rate(READ),
            unit=units.BytesPerSecondIEC,
            width=4,
        ),
        stat(
            "Skipped in an hour",
            "Samples that could not be read, of all jobs, each counted once an attempt.",
            "sum(increase(alexnet_data_skipped_samples_total[1h]))",
            unit=units.Short,
            width=4,
            bounds={1: ORANGE},
            decimals=0,
        ),
        stat(
            "Cache hits",
            f"{HITS}; {LOCAL}.",
            _hits(),
            unit=units.PercentUnit,
            width=4,
            none="no cache",
            decimals=0,
        ),
    ]


def _feed() -> list[Panel]:
    depth = f"ray_alexnet_data_prefetched_batches {OF_JOBS}"
    return [
        series(
            "Images/s by job",
            "By split: training and validation. A click on a curve leads to its job.",
            Query(f"sum by (job_id, split) ({SAMPLES_RATE})", "{{job_id}} {{split}}"),
            unit=units.Short,
            stacked=True,
            links=job_of_series(),
        ),
        series(
            "Waiting for data",
            "Of each job's replica that waits longest: share of its time, over five minutes.",
            Query(f"max by (job_id) ({STALL})", "{{job_id}}"),
            unit=units.PercentUnit,
            bound=(MAX_DATA_STALL, RED),
            share=True,
            links=job_of_series(),
        ),
        series(
            "Batches ready",
            "That loaders have prepared: at 0 the replica waits.",
            Query(f"min({depth})", "least of a replica"),
            Query(f"avg({depth})", "mean"),
            unit=units.Short,
        ),
    ]


def _work() -> list[Panel]:
    stages = _rate("ray_alexnet_data_stage_seconds_total", "stage")
    return [
        series(
            "Work an image, by stage",
            "Seconds of a loader's process that an image takes.",
            Query(f"{stages} / on () group_left () (sum({SAMPLES_RATE}) > 0)", "{{stage}}"),
            unit=units.Seconds,
            width=12,
            colours=colours.OF_STAGE,
            stacked=True,
        ),
        series(
            "Read, by source",
            "Bytes a second: local files, the node's shard cache, object stores.",
            Query(_rate(READ, "source"), "{{source}}"),
            unit=units.BytesPerSecondIEC,
            width=12,
            colours=colours.OF_SOURCE,
            stacked=True,
        ),
    ]


def _losses() -> list[Panel]:
    return [
        series(
            "Skipped samples in an hour",
            "By reason, of all jobs, within the hour before each moment.",
            Query(SKIPPED, "{{reason}}"),
            unit=units.Short,
            width=6,
            stacked=True,
        ),
        series(
            "Requests to the cache",
            f"Shards fetched (miss), and opened when they were there (hit), a second; {LOCAL}.",
            Query(_rate(CACHE, "result"), "{{result}}"),
            unit=units.RequestsPerSecond,
            width=6,
            colours=colours.OF_CACHE,
            stacked=True,
        ),
        series(
            "Cache hits",
            f"{HITS}; {LOCAL}.",
            Query(_hits(), "hits"),
            unit=units.PercentUnit,
            width=6,
            share=True,
        ),
        series(
            "Read from disk, by node",
            "Bytes a second, of all that runs on the node.",
            Query("max by (ip) (ray_node_disk_io_read_speed)", "{{ip}}"),
            unit=units.BytesPerSecondIEC,
            width=6,
        ),
    ]
