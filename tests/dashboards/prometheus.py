"""A real Prometheus on loopback, made from the checked-in configuration and rules."""

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.dashboards.checked_in import CONFIGURATION_FILE, RULES_FILE, alerts
from tests.waiting import wait_for

SPAN_S = 900
SCRAPED_EVERY = "2s"
# What is not answered within the time between two scrapes counts as gone, and all that it told;
# Ray's agent needs more than a second for it where attempts take all CPUs.
RAY_SCRAPED_EVERY = "5s"
# Of those in minutes it is waited for in seconds.
MINUTES = re.compile(r"\b(\d+)m\b")


class Prometheus:
    """It scrapes every few seconds, and is asked over HTTP, as Grafana asks."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=20)

    def close(self) -> None:
        self._http.close()

    def is_ready(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """Return what it is now."""
        return list(self._get("query", query=expr)["result"])

    def ask_range(self, expr: str, *, step_s: int) -> list[dict[str, Any]]:
        """Return what it was in the last quarter of an hour."""
        now = time.time()
        asked = {"query": expr, "start": now - SPAN_S, "end": now, "step": step_s}
        return list(self._get("query_range", **asked)["result"])

    def label_values(self, label: str, metric: str) -> list[str]:
        """Return a label's values, as Grafana asks for them to fill a picker."""
        return list(self._get(f"label/{label}/values", **{"match[]": metric}))

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule, with what came of it."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        """Return what it scrapes, with what came of it."""
        return list(self._get("targets")["activeTargets"])

    def firing(self, alert: str, job_id: str) -> bool:
        """Say whether an alert fires of a job."""
        labels = f'alertname="{alert}", job_id="{job_id}", alertstate="firing"'
        return bool(self.ask(f"ALERTS{{{labels}}}"))

    def _get(self, path: str, **asked: Any) -> Any:
        answer = self._http.get(f"/api/v1/{path}", params=asked).json()
        assert answer["status"] == "success", (asked, answer)
        assert not answer.get("warnings"), (asked, answer)
        return answer["data"]


@contextlib.contextmanager
def running_prometheus(
    folder: Path, *, targets: Mapping[str, str], hastened: str
) -> Iterator[Prometheus]:
    """Start it in a new folder; `targets`: host and port by the name of a job of its configuration.

    `hastened`: the name of an alert that is looked at over seconds besides, where it says minutes.
    """
    (folder / "rules").mkdir(parents=True)
    shutil.copy(RULES_FILE, folder / "rules")
    (folder / "rules" / "hastened.yml").write_text(_hastened(hastened))
    configuration = folder / "prometheus.yml"
    configuration.write_text(_configuration(targets))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={configuration}", "--log.level=warn"),
                *(f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={address}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    prometheus = Prometheus(f"http://{address}")

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        return prometheus.is_ready()

    try:
        wait_for("Prometheus to be ready", ready, timeout_s=60)
        yield prometheus
    finally:
        prometheus.close()
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _configuration(targets: Mapping[str, str]) -> str:
    """Return the checked-in one with other targets and shorter times."""
    configuration = yaml.safe_load(CONFIGURATION_FILE.read_text())
    configuration["global"] = dict.fromkeys(configuration["global"], SCRAPED_EVERY)
    jobs = {job["job_name"]: job for job in configuration["scrape_configs"]}
    assert jobs.keys() == targets.keys()
    for name, job in jobs.items():
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [targets[name]]}]
    jobs["ray"]["scrape_interval"] = RAY_SCRAPED_EVERY
    return yaml.safe_dump(configuration)


def _hastened(name: str) -> str:
    alert = alerts()[name]
    hastened = {
        **alert,
        "expr": MINUTES.sub(r"\1s", alert["expr"]),
        "for": MINUTES.sub(r"\1s", alert["for"]),
    }
    assert hastened["expr"] != alert["expr"]
    return yaml.safe_dump({"groups": [{"name": "hastened", "rules": [hastened]}]})
