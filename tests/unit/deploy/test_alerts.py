"""The rules of Prometheus: each alert fires when it is to and not otherwise, and is explained."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.generate.files import RULES, files
from tests.dashboards.checked_in import CONFIGURATION_FILE, RULES_FILE, alerts
from tests.dashboards.promtool import needs_promtool, promtool

REPOSITORY = Path(__file__).resolve().parents[3]
CASES_FILE = Path(__file__).with_name("alerts.yml")


@needs_promtool
def test_prometheus_accepts_its_configuration_and_the_rules() -> None:
    promtool("check", "config", CONFIGURATION_FILE)
    promtool("check", "rules", RULES_FILE)


@needs_promtool
def test_alerts_fire_when_they_are_to(tmp_path: Path) -> None:
    cases = yaml.safe_load(CASES_FILE.read_text())
    for asked in _asked(cases):
        for fired in asked["exp_alerts"]:
            given = fired.get("exp_annotations", {})
            fired["exp_annotations"] = {**_annotations(asked, fired["exp_labels"]), **given}
    filled = tmp_path / "alerts.yml"
    filled.write_text(yaml.safe_dump({**cases, "rule_files": [str(RULES_FILE)]}))
    promtool("test", "rules", filled)


def _asked(cases: dict[str, Any]) -> list[dict[str, Any]]:
    return [asked for case in cases["tests"] for asked in case.get("alert_rule_test", ())]


def _annotations(asked: dict[str, Any], labels: dict[str, str]) -> dict[str, str]:
    """Return those of the alert with its labels in place; values are for the case to give."""
    said = dict(alerts()[asked["alertname"]]["annotations"])
    for label, value in labels.items():
        said = {
            key: text.replace(f"{{{{ $labels.{label} }}}}", value) for key, text in said.items()
        }
    return said


def test_every_alert_is_seen_to_fire_and_not_to() -> None:
    fires: dict[str, set[bool]] = {}
    for asked in _asked(yaml.safe_load(CASES_FILE.read_text())):
        fires.setdefault(asked["alertname"], set()).add(bool(asked["exp_alerts"]))
    assert fires == {name: {True, False} for name in alerts()}


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_what_is_wrong_how_badly_and_what_to_do(name: str) -> None:
    alert = alerts()[name]
    assert re.fullmatch(r"\d+m", alert["for"])
    assert alert["labels"]["severity"] in ("warning", "critical")
    said = alert["annotations"]
    assert said["summary"]
    assert said["description"].endswith(".")
    page, _, section = said["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (REPOSITORY / page).read_text(), re.MULTILINE)
    assert section in [heading.lower().replace(" ", "-") for heading in headings]


def test_a_mail_can_follow_what_an_alert_names_where_that_is_said() -> None:
    grafana, runbook = "https://grafana.example.org", "https://docs.example.org/monitoring"
    written = yaml.safe_load(files(grafana_url=grafana, runbook_url=runbook)[RULES])
    rules = [rule for group in written["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(rules) == len(alerts())
    for rule in rules:
        told, said = rule["annotations"], alerts()[rule["alert"]]["annotations"]
        assert told["dashboard"] == f"{grafana}{said['dashboard']}"
        assert told["runbook_url"] == f"{runbook}#{rule['alert'].lower()}"


def test_compose_mounts_the_rules() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    prometheus = compose["services"]["prometheus"]
    [mount] = [volume for volume in prometheus["volumes"] if volume.startswith("./")]
    folder, target, mode = mount.split(":")
    assert (REPOSITORY / folder).resolve() == CONFIGURATION_FILE.parent
    assert mode == "ro"
    assert f"--config.file={target}/{CONFIGURATION_FILE.name}" in prometheus["command"]
    # Patterns in it are meant from its own folder.
    [pattern] = yaml.safe_load(CONFIGURATION_FILE.read_text())["rule_files"]
    assert RULES_FILE in CONFIGURATION_FILE.parent.glob(pattern)
