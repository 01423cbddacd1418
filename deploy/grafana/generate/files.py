"""Which files are generated, and what each is to hold. Pure."""

from pathlib import Path

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.generate.alerts import ALERTS
from deploy.grafana.generate.data import data
from deploy.grafana.generate.fleet import fleet
from deploy.grafana.generate.job import job
from deploy.grafana.generate.rules import RECORDS, RUNBOOK, groups

DEPLOY = Path(__file__).resolve().parents[2]
DASHBOARDS = DEPLOY / "grafana/dashboards"
RULES = DEPLOY / "prometheus/rules/alexnet.yml"
# As docker-compose.yml publishes it.
SERVICE_URL = "http://127.0.0.1:8000"
HEADER = "# Written by `make dashboards`; change deploy/grafana/generate/ instead.\n"


def files(
    service_url: str = SERVICE_URL, *, grafana_url: str = "", runbook_url: str = RUNBOOK
) -> dict[Path, str]:
    """Return the text of each file.

    `service_url`: where browsers reach the service; the others as `rules.groups` has them.
    """
    encoder = JSONEncoder(indent=1, sort_keys=True, ensure_ascii=False)
    dashboards = {"fleet": fleet, "job": job, "data": data}
    return {
        DASHBOARDS / f"{name}.json": encoder.encode(build(service_url)) + "\n"
        for name, build in dashboards.items()
    } | {
        RULES: HEADER
        + yaml.dump(
            {"groups": groups(RECORDS, ALERTS, grafana_url=grafana_url, runbook_url=runbook_url)},
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            width=100,
        )
    }


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # the package leaves it untyped
    """Writes long expressions over several lines, as they were written."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
