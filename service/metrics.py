"""/metrics: counted as requests pass, and read from the store when it is scraped.

What is read from the store is right after a restart too, and series of a job go with its end.
"""

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.records import JobRecord
from service.store.statistics import JobTimes, Statistics, statistics
from service.store.store import Store
from trainer.contract.status import TERMINAL, Status

# From a job that starts at once to one that waits or runs for a week, in seconds.
BUCKETS_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)

registry = CollectorRegistry()
http_requests = Counter(
    "http_requests", "Requests answered.", ["method", "handler", "status"], registry=registry
)
http_request_duration = Histogram(
    "http_request_duration_seconds",
    "Time to the first byte of the answer.",
    ["method", "handler"],
    registry=registry,
)
event_streams = Gauge("alexnet_event_streams", "Event streams that are open.", registry=registry)


def exposition(store: Store) -> bytes:
    """Return everything in Prometheus's text format."""
    stored = CollectorRegistry()
    stored.register(_StoreCollector(store.read(statistics)))
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the package leaves it untyped
    return generate_latest(registry) + generate_latest(stored)


class MetricsMiddleware:
    """Counts and times every request under its route's template."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        answered = False

        def count(status: int) -> None:
            nonlocal answered
            answered = True
            handler = getattr(scope.get("route"), "path", "none")
            http_requests.labels(scope["method"], handler, status).inc()
            seconds = time.perf_counter() - started
            http_request_duration.labels(scope["method"], handler).observe(seconds)

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception:
            # What nobody caught is answered outside of every middleware.
            if not answered:
                count(500)
            raise


class _StoreCollector(Collector):
    def __init__(self, seen: Statistics) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        yield from _fleet(self._seen)
        yield from _live(self._seen)


def _fleet(seen: Statistics) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "alexnet_build",
        "This release.",
        value={"version": version("alexnet-training-service")},
    )
    by_status = GaugeMetricFamily("alexnet_jobs", "Jobs by status.", labels=["status"])
    finished = CounterMetricFamily(
        "alexnet_jobs_finished", "Jobs that have ended.", labels=["outcome"]
    )
    for status in Status:
        count = sum(job.status is status for job in seen.times)
        by_status.add_metric([status], count)
        if status in TERMINAL:
            finished.add_metric([status], count)
    yield by_status
    yield finished
    yield CounterMetricFamily(
        "alexnet_jobs_submitted", "Jobs that were accepted.", value=len(seen.times)
    )
    restarts = CounterMetricFamily(
        "alexnet_job_restarts", "Attempts after one that failed.", labels=["reason"]
    )
    for reason, count in seen.restarts_by_reason.items():
        restarts.add_metric([reason], count)
    yield restarts
    yield _queue_seconds(seen.times)
    yield _run_seconds(seen.times)


def _queue_seconds(times: Iterable[JobTimes]) -> Metric:
    family = HistogramMetricFamily("alexnet_job_queue_seconds", "From acceptance to admission.")
    waits = [_seconds(job.created_at, job.started_at) for job in times if job.started_at]
    family.add_metric([], _buckets(waits), sum(waits))
    return family


def _run_seconds(times: Iterable[JobTimes]) -> Metric:
    family = HistogramMetricFamily(
        "alexnet_job_run_seconds", "From admission to the end.", labels=["outcome"]
    )
    done = [job for job in times if job.started_at and job.finished_at]
    for status in sorted(TERMINAL):
        runs = [_seconds(job.started_at, job.finished_at) for job in done if job.status is status]
        family.add_metric([status], _buckets(runs), sum(runs))
    return family


def _seconds(since: datetime | None, until: datetime | None) -> float:
    assert since is not None
    assert until is not None
    return max((until - since).total_seconds(), 0.0)


def _buckets(values: list[float]) -> list[tuple[str, float]]:
    counted = [(str(float(edge)), float(sum(v <= edge for v in values))) for edge in BUCKETS_S]
    return [*counted, ("+Inf", float(len(values)))]


def _live(seen: Statistics) -> Iterator[Metric]:
    for name, help_text in (
        ("epoch", "Epochs done, with fraction."),
        ("step", "Steps done."),
        ("planned_steps", "Steps of the whole job."),
        ("loss", "Mean cross-entropy of late, nats."),
        ("learning_rate", "The present rate."),
        ("images_per_second", "Over all replicas."),
    ):
        family = GaugeMetricFamily(f"alexnet_train_{name}", help_text, labels=["job_id"])
        for job in seen.live:
            if job.progress is not None:
                family.add_metric([job.id], getattr(job.progress, name))
        yield family
    yield _errors(seen.live)
    saved_at = GaugeMetricFamily(
        "alexnet_checkpoint_last_success_timestamp_seconds",
        "When the newest checkpoint was saved.",
        labels=["job_id"],
    )
    size = GaugeMetricFamily(
        "alexnet_checkpoint_size_bytes", "Of the newest checkpoint.", labels=["job_id"]
    )
    for job_id, checkpoint in seen.newest_checkpoints.items():
        saved_at.add_metric([job_id], checkpoint.saved_at.timestamp())
        size.add_metric([job_id], checkpoint.size_bytes)
    yield saved_at
    yield size


def _errors(live: Iterable[JobRecord]) -> Metric:
    family = GaugeMetricFamily(
        "alexnet_eval_error_ratio",
        "Share of the validation set not right within k guesses.",
        labels=["job_id", "k"],
    )
    for job in live:
        if job.evaluation is not None:
            family.add_metric([job.id, "1"], 1 - job.evaluation.top1)
            family.add_metric([job.id, "5"], 1 - job.evaluation.top5)
    return family
