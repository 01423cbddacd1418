"""The dashboards: as their code writes them, readable, explained, and made of metrics we export."""

import contextlib
import importlib.util
import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.generate.files import files
from service.metrics import exposition
from service.store.store import Store
from tests.dashboards.checked_in import (
    DASHBOARDS,
    DATASOURCE_FILE,
    DEPLOY,
    metrics,
    panel_queries,
    panels,
    rules,
)
from tests.dashboards.promtool import needs_promtool, promtool

SUFFIX = re.compile(r"_(total|bucket|count|sum)$")
every_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


def test_files_are_as_the_code_writes_them() -> None:
    written = {path for path in DEPLOY.rglob("*") if path.parent.name in ("dashboards", "rules")}
    written -= set((DEPLOY / "grafana/provisioning").rglob("*"))
    expected = files()
    assert written == expected.keys()
    for path, text in expected.items():
        assert path.read_text() == text, f"{path} differs: run `make dashboards`"


def test_links_to_the_page_go_where_it_is_said_to_be() -> None:
    elsewhere = files("https://alexnet.example.org")
    for path, text in elsewhere.items():
        if path.suffix == ".json":
            assert "https://alexnet.example.org" in text
            assert "127.0.0.1" not in text


@every_dashboard
def test_rows_fill_the_width_and_no_panel_overlaps(name: str) -> None:
    everything = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    cells = [
        {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        for g in (panel["gridPos"] for panel in everything)
    ]
    assert all(not (a & b) for a, b in combinations(cells, 2))
    covered = set[tuple[int, int]]().union(*cells)
    height = 1 + max(y for _, y in covered)
    assert covered == {(x, y) for x in range(24) for y in range(height)}


@every_dashboard
def test_a_panel_says_what_it_shows_and_in_which_unit(name: str) -> None:
    titles = [panel["title"] for panel in panels(name)]
    for panel in panels(name):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        # Narrower ones are cut off on a screen of 1,440 pixels.
        assert panel["gridPos"]["w"] >= (3 if panel["type"] == "stat" else 4)
    assert DASHBOARDS[name]["description"]
    head = [title for title in titles if titles.count(title) > 1]
    # A number at the head may have its curve below.
    assert all(titles.count(title) == 2 for title in head)


@every_dashboard
def test_each_leads_to_the_others_and_to_the_page(name: str) -> None:
    urls = {link["url"] for link in DASHBOARDS[name]["links"]}
    others = {DASHBOARDS[other]["uid"] for other in DASHBOARDS if other != name}
    assert {f"/d/{uid}" for uid in others} <= urls
    page = "${service:raw}/ui/" + ("jobs/${job:raw}" if name == "job" else "")
    assert page in urls


def test_a_job_s_curve_leads_to_the_job() -> None:
    [panel] = [panel for panel in panels("fleet") if panel["title"] == "Images/s by job"]
    urls = [link["url"] for link in panel["fieldConfig"]["defaults"]["links"]]
    assert "var-job=${__field.labels.job_id}" in urls[0]
    assert urls[1].endswith("/ui/jobs/${__field.labels.job_id}")


def test_a_status_has_one_colour_everywhere() -> None:
    colours: dict[str, set[str]] = {}
    for name in DASHBOARDS:
        for panel in panels(name):
            for override in panel["fieldConfig"]["overrides"]:
                [colour] = override["properties"]
                named = colours.setdefault(override["matcher"]["options"], set())
                named.add(colour["value"]["fixedColor"])
    assert {"QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "data_wait"} <= colours.keys()
    assert all(len(chosen) == 1 for chosen in colours.values())


def test_everything_asks_the_provisioned_datasource() -> None:
    [source] = yaml.safe_load(DATASOURCE_FILE.read_text())["datasources"]
    asked: list[dict[str, Any]] = []
    for name, dashboard in DASHBOARDS.items():
        variables = dashboard["templating"]["list"]
        asked += [variable["datasource"] for variable in variables if variable["type"] == "query"]
        for panel in panels(name):
            asked += [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(one == {"type": source["type"], "uid": source["uid"]} for one in asked)


def test_provider_reads_the_folder_that_is_mounted() -> None:
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    grafana = compose["services"]["grafana"]
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/alexnet.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in grafana["volumes"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/fleet.json"


def test_every_metric_of_the_service_is_one_that_it_exports(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    store.migrate()
    with contextlib.closing(store):
        families = list(text_string_to_metric_families(exposition(store).decode()))
    exported = {family.name for family in families}
    expressions = [query.expr for query in panel_queries()] + [rule["expr"] for rule in rules()]
    asked = {name for expr in expressions for name in metrics(expr)}
    assert {"alexnet_train_loss", "alexnet_jobs", "http_requests_total"} <= asked
    ours = {SUFFIX.sub("", name) for name in asked if name.startswith(("alexnet_", "http_"))}
    assert ours <= exported


def test_every_metric_of_ray_is_one_that_its_sources_name() -> None:
    # Of GPUs there is none to see where there are none: what they are called is read, not scraped.
    package = importlib.util.find_spec("ray")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "dashboard"
    sources = (folder / "modules/reporter/reporter_agent.py").read_text()
    labels = (folder / "consts.py").read_text()
    expressions = [query.expr for query in panel_queries()] + [rule["expr"] for rule in rules()]
    asked = {name for expr in expressions for name in metrics(expr)}
    of_nodes = {name for name in asked if name.startswith("ray_node_")}
    assert {"ray_node_gpus_utilization", "ray_node_gram_used"} <= of_nodes
    assert [name for name in of_nodes if f'"{name.removeprefix("ray_")}"' not in sources] == []
    assert '"GpuIndex"' in labels


def test_every_recorded_metric_is_recorded_and_asked_for() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    expressions = [query.expr for query in panel_queries()] + [rule["expr"] for rule in rules()]
    assert {name for expr in expressions for name in metrics(expr) if ":" in name} == recorded


def test_dashboards_are_json_that_a_person_can_compare() -> None:
    for path in (DEPLOY / "grafana/dashboards").iterdir():
        text = path.read_text()
        dumped = json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False)
        assert text == dumped + "\n"


@needs_promtool
def test_every_expression_is_promql(tmp_path: Path) -> None:
    panels_as_rules = [
        {"record": f"panel:{number}", "expr": query.substituted("job")}
        for number, query in enumerate(panel_queries())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": panels_as_rules}]}))
    promtool("check", "rules", file)
