"""The service itself, on the Fleet dashboard: its API, its loop, what it sends."""

from grafana_foundation_sdk.models import units

from deploy.grafana.generate import colours
from deploy.grafana.generate.alerts import MAX_ERROR_RATIO, MAX_RECONCILER_STEP_S
from deploy.grafana.generate.colours import RED
from deploy.grafana.generate.panels import Panel, Query, series, table
from deploy.grafana.generate.rules import ERROR_RATIO, REQUEST_BUCKETS

FIRING = 'ALERTS{alertname=~"Alexnet.*", alertstate="firing"}'


def api() -> list[Panel]:
    """Show how requests are answered."""

    def quantile(q: float) -> str:
        return f"histogram_quantile({q}, sum by (le) ({REQUEST_BUCKETS}))"

    return [
        series(
            "Requests/s by answer",
            "By HTTP status, of all control planes.",
            Query("sum by (status) (rate(http_requests_total[$__rate_interval]))", "{{status}}"),
            unit=units.RequestsPerSecond,
            width=6,
            colours=colours.OF_ANSWERS,
            stacked=True,
        ),
        series(
            "Errors",
            "Share of requests that were answered with 5xx within five minutes, health checks "
            "left out.",
            Query(ERROR_RATIO, "5xx"),
            unit=units.PercentUnit,
            width=6,
            colours={"5xx": RED},
            bound=(MAX_ERROR_RATIO, RED),
        ),
        series(
            "Time to answer",
            "To the first byte, over five minutes, of all requests.",
            *(Query(quantile(q), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)),
            unit=units.Seconds,
            width=6,
            colours=colours.OF_QUANTILES,
            logarithmic=True,
        ),
        series(
            "Slowest routes",
            "The five whose p95 is highest, over five minutes.",
            Query(
                f"topk(5, histogram_quantile(0.95, sum by (handler, le) ({REQUEST_BUCKETS})) >= 0)",
                "{{handler}}",
            ),
            unit=units.Seconds,
            width=6,
            logarithmic=True,
        ),
    ]


def service() -> list[Panel]:
    """Show what goes on beside requests."""
    return [
        table(
            "Alerts that fire",
            "docs/monitoring.md has a section on each: what it means, and what to do.",
            FIRING,
            columns={
                "severity": "Severity",
                "alertname": "Alert",
                "job_id": "Job",
                "ip": "Node",
            },
            width=9,
            none="none",
        ),
        series(
            "Reconciler at one job",
            "For how long the reconciler has been at one job: seconds at most in a healthy "
            "service. At 300 s the service says that it is not ready.",
            Query("max by (instance) (alexnet_reconciler_step_age_seconds)", "{{instance}}"),
            unit=units.Seconds,
            width=5,
            bound=(MAX_RECONCILER_STEP_S, RED),
        ),
        series(
            "Webhooks in an hour",
            "What came of messages to them: failed counts once a try, which is tried again; "
            "given_up is lost.",
            Query(
                "sum by (outcome) (increase(alexnet_webhook_deliveries_total[1h]))", "{{outcome}}"
            ),
            unit=units.Short,
            width=5,
            colours=colours.OF_DELIVERIES,
        ),
        series(
            "Streams and downloads",
            "Open at the moment, of all control planes.",
            Query("sum(alexnet_event_streams)", "event streams"),
            Query("sum(alexnet_downloads)", "downloads"),
            unit=units.Short,
            width=5,
        ),
    ]
