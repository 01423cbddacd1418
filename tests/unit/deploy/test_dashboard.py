"""The Grafana dashboard: well-formed, and made of metrics that the service exports."""

import contextlib
import json
import os
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import exposition
from service.store.store import Store

GRAFANA = Path(__file__).resolve().parents[3] / "deploy/grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards/alexnet.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
METRIC = re.compile(r"\b(?:alexnet|http)_[a-z_]+")
SUFFIX = re.compile(r"_(total|bucket)$")
# In CI the tests fail without it, so that a missing install step shows.
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ,
    reason="promtool is not installed (Debian: apt-get install prometheus)",
)
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells = [
        {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        for g in (panel["gridPos"] for panel in PANELS)
    ]
    assert all(x < 24 for panel in cells for x, _ in panel)
    assert all(not (a & b) for a, b in combinations(cells, 2))


def test_everything_asks_the_provisioned_datasource() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    [source] = provisioned["datasources"]
    asked = [DASHBOARD["templating"]["list"][0]["datasource"]]
    for panel in PANELS:
        asked += [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(one == {"type": source["type"], "uid": source["uid"]} for one in asked)


def test_provider_reads_the_folder_that_is_mounted() -> None:
    compose = yaml.safe_load((GRAFANA.parents[1] / "docker-compose.yml").read_text())
    grafana = compose["services"]["grafana"]
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/alexnet.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in grafana["volumes"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/alexnet.json"


def test_what_must_be_seen_is_there() -> None:
    shown = " ".join(EXPRESSIONS)
    for metric in (
        "alexnet_train_loss",
        "alexnet_eval_error_ratio",
        "alexnet_train_images_per_second",
        "alexnet_train_step",
        "alexnet_jobs",
    ):
        assert metric in shown


@needs_promtool
def test_every_expression_is_promql(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    records = [
        {"record": f"panel:{number}", "expr": expression.replace("$job", ".*")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    checked = subprocess.run(
        ["promtool", "check", "rules", rules], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@needs_promtool
def test_prometheus_accepts_its_configuration() -> None:
    checked = subprocess.run(
        ["promtool", "check", "config", GRAFANA.parent / "prometheus/prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_every_metric_is_one_that_the_service_exports(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    store.migrate()
    with contextlib.closing(store):
        families = list(text_string_to_metric_families(exposition(store).decode()))
    exported = {family.name for family in families}
    asked = {name for expression in EXPRESSIONS for name in METRIC.findall(expression)}
    assert asked
    assert {SUFFIX.sub("", name) for name in asked} <= exported
