"""/metrics: counted as requests pass, and read from the store when it is scraped.

What is read from the store is right after a restart too, and series of a job go with its end.
"""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import Literal, get_args

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

from service.access.caller import EVERYONE, Caller
from service.jobs.progress import seconds_left
from service.jobs.records import JobRecord
from service.run_files.room import Room
from service.steady_clock import now_utc
from service.store.counters import BUCKETS_S
from service.store.statistics import Durations, Statistics, statistics
from service.store.store import Store
from trainer.contract.attempt import Reason
from trainer.contract.events import AttemptEvent, CorruptReasonName, Phase, SamplesSkipped
from trainer.contract.status import LIVE, TERMINAL, Status

# An attempt is at work; in any other status the last rate is of the past.
TRAINING = frozenset({Status.RUNNING, Status.PAUSING, Status.CANCELLING})

# A client may invent any method; each would make series of its own for good.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

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
skipped_samples = Counter(
    "alexnet_data_skipped_samples",
    "Samples that could not be read, each told of once an attempt.",
    ["reason"],
    registry=registry,
)
for _reason in get_args(CorruptReasonName):
    # A series that is there from the beginning has a rate when it first grows.
    skipped_samples.labels(_reason)
DeliveryOutcome = Literal["delivered", "failed", "given_up"]
deliveries = Counter(
    "alexnet_webhook_deliveries",
    "What came of messages to webhooks: failed once a try that is to be tried again.",
    ["outcome"],
    registry=registry,
)
for _outcome in get_args(DeliveryOutcome):
    deliveries.labels(_outcome)
event_streams = Gauge("alexnet_event_streams", "Event streams that are open.", registry=registry)
downloads = Gauge("alexnet_downloads", "Files that are being sent.", registry=registry)
reconciler_step_age = Gauge(
    "alexnet_reconciler_step_age_seconds",
    "For how long the reconciler has been at one job; 0 while it waits for its next tick.",
    registry=registry,
)
_run_root_free = Gauge(
    "alexnet_run_root_free_bytes",
    "Room on the run root's disk; not a number while that does not answer.",
    registry=registry,
)
_run_root_size = Gauge(
    "alexnet_run_root_size_bytes",
    "Of the run root's disk; not a number while that does not answer.",
    registry=registry,
)


def exposition(store: Store, caller: Caller = EVERYONE) -> bytes:
    """Return everything that the caller may see, in Prometheus's text format."""
    stored = CollectorRegistry()
    stored.register(_StoreCollector(store.read(statistics), caller))
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the package leaves it untyped
    return generate_latest(registry) + generate_latest(stored)


def note_room(room: Room | None) -> None:
    """Take down how much room the run root's disk has; None: that is not known."""
    for gauge, size_bytes in zip(
        (_run_root_free, _run_root_size), room or (math.nan, math.nan), strict=True
    ):
        gauge.set(size_bytes)


def count_events(events: Iterable[AttemptEvent]) -> None:
    """Count what attempts tell in events that were not stored before."""
    for event in events:
        if isinstance(event.data, SamplesSkipped):
            for reason, count in event.data.by_reason.items():
                skipped_samples.labels(reason).inc(count)


def count_deliveries(outcome: DeliveryOutcome, num: int = 1) -> None:
    """Count what was written down of messages to webhooks."""
    deliveries.labels(outcome).inc(num)


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
            method = scope["method"] if scope["method"] in METHODS else "other"
            http_requests.labels(method, handler, status).inc()
            seconds = time.perf_counter() - started
            http_request_duration.labels(method, handler).observe(seconds)

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
    def __init__(self, seen: Statistics, caller: Caller) -> None:
        hidden = {job.id for job in seen.live if not caller.may_see(job.ownership)}
        self._seen = replace(
            seen,
            live=tuple(job for job in seen.live if job.id not in hidden),
            newest_checkpoints={
                job_id: checkpoint
                for job_id, checkpoint in seen.newest_checkpoints.items()
                if job_id not in hidden
            },
        )

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
        by_status.add_metric([status], seen.jobs_by_status.get(status, 0))
    for status in sorted(TERMINAL):
        finished.add_metric([status], seen.finished_by_status[status])
    yield by_status
    yield finished
    num_live = sum(seen.jobs_by_status.get(status, 0) for status in LIVE)
    num_submitted = num_live + sum(seen.finished_by_status.values())
    yield CounterMetricFamily(
        "alexnet_jobs_submitted", "Jobs that were accepted.", value=num_submitted
    )
    restarts = CounterMetricFamily(
        "alexnet_job_restarts", "Attempts after one that failed.", labels=["reason"]
    )
    # From the beginning, as above; whatever another release has stored besides.
    for reason, count in (dict.fromkeys(Reason, 0) | seen.restarts_by_reason).items():
        restarts.add_metric([reason], count)
    yield restarts
    # By a job's end: a replica that meets one is gone before anybody could scrape it.
    yield CounterMetricFamily(
        "alexnet_train_nonfinite_steps",
        "Steps whose loss was not finite; each ended its job.",
        value=seen.num_nonfinite,
    )
    queue = HistogramMetricFamily("alexnet_job_queue_seconds", "From acceptance to admission.")
    queue.add_metric([], _buckets(seen.queue), seen.queue.sum_s)
    yield queue
    waited_s = 0.0
    if seen.queued_since is not None:
        waited_s = max((now_utc() - seen.queued_since).total_seconds(), 0.0)
    yield GaugeMetricFamily(
        "alexnet_job_queue_age_seconds",
        "For how long the job waits that is in the queue since longest; 0 while none is.",
        value=waited_s,
    )
    run = HistogramMetricFamily(
        "alexnet_job_run_seconds", "From admission to the end.", labels=["outcome"]
    )
    for status in sorted(TERMINAL):
        durations = seen.run_by_status[status]
        run.add_metric([status], _buckets(durations), durations.sum_s)
    yield run


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    counted = zip(BUCKETS_S, durations.at_most, strict=True)
    return [
        *((str(float(edge)), float(count)) for edge, count in counted),
        ("+Inf", float(durations.count)),
    ]


def _live(seen: Statistics) -> Iterator[Metric]:
    for name, help_text in (
        ("epoch", "Epochs done, with fraction."),
        ("step", "Steps done."),
        ("planned_steps", "Steps of the whole job."),
        ("loss", "Mean cross-entropy of late, nats."),
        ("learning_rate", "The present rate."),
        ("images_per_second", "Over all replicas, of jobs that are training now."),
    ):
        family = GaugeMetricFamily(f"alexnet_train_{name}", help_text, labels=["job_id"])
        for job in seen.live:
            if job.progress is not None and (name != "images_per_second" or job.status in TRAINING):
                family.add_metric([job.id], getattr(job.progress, name))
            elif job.status is Status.RUNNING and name in ("epoch", "step", "images_per_second"):
                # It has yet to tell of a step: what stands still from the beginning is seen too.
                family.add_metric([job.id], 0.0)
        yield family
    yield _training_since(seen.live)
    yield from _times(job for job in seen.live if job.status in TRAINING)
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


def _training_since(live: Iterable[JobRecord]) -> Metric:
    family = GaugeMetricFamily(
        "alexnet_train_start_timestamp_seconds",
        "Since when the attempt trains, of jobs that train now and are to save checkpoints.",
        labels=["job_id"],
    )
    for job in live:
        if job.status is Status.RUNNING and job.spec.kind == "train":
            family.add_metric([job.id], job.status_since.timestamp())
    return family


def _times(training: Iterable[JobRecord]) -> Iterator[Metric]:
    phases = GaugeMetricFamily(
        "alexnet_train_phase_seconds",
        "Mean seconds of a step by phase, of rank 0's host, of jobs that are training now.",
        labels=["job_id", "phase"],
    )
    left = GaugeMetricFamily(
        "alexnet_train_eta_seconds", "To the end, where that is known.", labels=["job_id"]
    )
    for job in training:
        if job.progress is None:
            continue
        for phase in get_args(Phase):
            # One that came up sometimes would break off its curve.
            if job.progress.phase_seconds:
                phases.add_metric([job.id, phase], job.progress.phase_seconds.get(phase, 0.0))
        eta_s = seconds_left(job.spec, job.progress, job.evaluation)
        if job.status is Status.RUNNING and eta_s is not None:
            left.add_metric([job.id], eta_s)
    yield phases
    yield left


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
