"""The checked-in dashboards, rules and configuration, as Grafana and Prometheus read them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARDS = {
    path.stem: json.loads(path.read_text())
    for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
}
RULES_FILE = DEPLOY / "prometheus/rules/alexnet.yml"
CONFIGURATION_FILE = DEPLOY / "prometheus/prometheus.yml"
DATASOURCE_FILE = DEPLOY / "grafana/provisioning/datasources/prometheus.yml"

# Of a selector: what stands before a brace, a range or the end, and is no function.
METRIC = re.compile(r"(?<![\w:$\"])((?:ray_|http_|alexnet_|\w+:)[\w:]+|up|ALERTS)\b(?!\()")


@dataclass(frozen=True)
class PanelQuery:
    """What one panel asks Prometheus."""

    dashboard: str
    panel: str
    expr: str
    instant: bool
    step_s: int
    """The least time between two points."""

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel}: {self.expr}"

    def substituted(self, job: str) -> str:
        """Return the expression with Grafana's variables in place; `job`: a value or a pattern."""
        # Grafana: four times the time between two scrapes, as far as it knows it.
        return self.expr.replace("$__rate_interval", f"{4 * self.step_s}s").replace("$job", job)


def panels(dashboard: str) -> list[dict[str, Any]]:
    """Return its panels, without the headings."""
    return [panel for panel in DASHBOARDS[dashboard]["panels"] if panel["type"] != "row"]


def panel_queries() -> Iterator[PanelQuery]:
    """Yield what every panel asks."""
    [source] = yaml.safe_load(DATASOURCE_FILE.read_text())["datasources"]
    for dashboard in DASHBOARDS:
        for panel in panels(dashboard):
            for target in panel["targets"]:
                step = target.get("interval", source["jsonData"]["timeInterval"])
                yield PanelQuery(
                    dashboard=dashboard,
                    panel=panel["title"],
                    expr=target["expr"],
                    instant=target["instant"],
                    step_s=int(step.removesuffix("s")),
                )


def rules() -> list[dict[str, Any]]:
    """Return all rules."""
    groups = yaml.safe_load(RULES_FILE.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the rules that are alerts, by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def metrics(expr: str) -> set[str]:
    """Return the names of the metrics, recorded ones too, that an expression asks for."""
    return set(METRIC.findall(expr))
