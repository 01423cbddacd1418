"""Prometheus's rules: what is computed in advance, and what an alert is made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import dedent
from typing import Any, Literal

# Of this repository; a mail can follow it where it is told as a URL.
RUNBOOK = "docs/monitoring.md"
# What asks for health is answered 503 while the service starts, and that is no error.
REQUESTS = 'http_requests_total{handler!~"/healthz|/readyz"}'
ERRORS = 'http_requests_total{handler!~"/healthz|/readyz", status=~"5.."}'


@dataclass(frozen=True)
class Record:
    """An expression that Prometheus computes in advance, under a name of its own."""

    name: str
    """level:metric:operation, as Prometheus recommends."""
    expr: str


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What somebody is to be told of."""

    name: str
    expr: str
    lasting: str
    """For so long, before it fires."""
    severity: Literal["warning", "critical"]
    summary: str
    description: str
    """What to do."""
    dashboard: str
    """The path, in Grafana, of what shows it."""


# Seen by every control plane that shares the store, so the greatest is taken, not the sum.
QUEUE = "max by (le) (increase(alexnet_job_queue_seconds_bucket[1h]))"
STEP_BUCKETS = "job_replica_le:alexnet_train_step_seconds_bucket:rate5m"
REQUEST_BUCKETS = "handler_le:http_request_duration_seconds_bucket:rate5m"
DATA_STALL = "job_replica:alexnet_data_stall:ratio_rate5m"
ERROR_RATIO = "alexnet:http_requests:error_ratio_rate5m"
QUEUE_P50 = "alexnet:job_queue_seconds:p50_1h"
QUEUE_P95 = "alexnet:job_queue_seconds:p95_1h"

RECORDS = (
    Record(
        REQUEST_BUCKETS,
        "sum by (handler, le) (rate(http_request_duration_seconds_bucket[5m]))",
    ),
    Record(
        ERROR_RATIO,
        f"(sum(rate({ERRORS}[5m])) or vector(0)) / (sum(rate({REQUESTS}[5m])) > 0)",
    ),
    # Without an admission there is no quantile, rather than one that is not a number.
    Record(QUEUE_P50, f"histogram_quantile(0.5, {QUEUE}) >= 0"),
    Record(QUEUE_P95, f"histogram_quantile(0.95, {QUEUE}) >= 0"),
    Record(
        STEP_BUCKETS,
        "sum by (job_id, replica, le) (rate(ray_alexnet_train_step_seconds_bucket[5m]))",
    ),
    Record(
        DATA_STALL,
        dedent("""\
            sum by (job_id, replica) (
              rate(ray_alexnet_train_phase_seconds_total{phase="data_wait"}[5m])
            )
            /
            (sum by (job_id, replica) (rate(ray_alexnet_train_phase_seconds_total[5m])) > 0)
            """),
    ),
)


def unsaved(matcher: str = "") -> str:
    """Return for how long jobs train without a checkpoint; of all, or of those that match.

    Since the later of the two moments: what came before an attempt is saved, or lost already.
    """
    moments = "alexnet_(train_start|checkpoint_last_success)_timestamp_seconds"
    return (
        f'time() - max by (job_id) ({{__name__=~"{moments}"{matcher and ", " + matcher}}}) '
        "and on (job_id) alexnet_train_start_timestamp_seconds"
    )


def groups(
    records: Iterable[Record],
    alerts: Iterable[Alert],
    *,
    grafana_url: str = "",
    runbook_url: str = RUNBOOK,
) -> list[dict[str, Any]]:
    """Return the groups of a file of rules.

    `grafana_url`: where whoever is told reaches Grafana, without a slash at its end; '': not known,
    and an alert names its dashboard's path. `runbook_url`: where they read what to do.
    """
    return [
        {
            "name": "alexnet-records",
            "rules": [{"record": record.name, "expr": record.expr} for record in records],
        },
        {
            "name": "alexnet-alerts",
            "rules": [_alert(one, grafana_url, runbook_url) for one in alerts],
        },
    ]


def _alert(alert: Alert, grafana_url: str, runbook_url: str) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.lasting,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "dashboard": f"{grafana_url}{alert.dashboard}",
            "runbook_url": f"{runbook_url}#{alert.name.lower()}",
        },
    }
