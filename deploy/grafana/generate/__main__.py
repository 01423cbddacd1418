"""`python -m deploy.grafana.generate`: write each generated file; `--help` has where links lead."""

import argparse

from deploy.grafana.generate.files import SERVICE_URL, files
from deploy.grafana.generate.rules import RUNBOOK

parser = argparse.ArgumentParser(prog="make dashboards", description="Each is a URL.")
parser.add_argument(
    "--service-url", default=SERVICE_URL, help="where browsers reach the service, for its page"
)
parser.add_argument(
    "--grafana-url", default="", help="where mails of alerts lead to Grafana; else they name paths"
)
parser.add_argument(
    "--runbook-url", default=RUNBOOK, help="where mails of alerts lead to docs/monitoring.md"
)
urls = parser.parse_args()

texts = files(
    urls.service_url, grafana_url=urls.grafana_url.rstrip("/"), runbook_url=urls.runbook_url
)
for path, text in texts.items():
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
