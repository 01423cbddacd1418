"""How the control plane bears its load: the real server over loopback, SQLite and PostgreSQL.

    python -m tests.bench.bench_service [--only api] [--databases sqlite postgresql]

Requests come at 100 a second from processes of their own, timed from when each was due. Stores of
1,000 and of 100,000 jobs (100 points each) take turns; a figure is the median over rounds of 99th
percentiles, and of the two databases the worse.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Figure, figure_table
from tests.bench.service import api
from tests.bench.service.databases import DATABASES, opened

MEDIANS = (
    "get_few",
    "get_many",
    "list_few",
    "list_many",
    "get_quiet",
    "get_reporting",
    "report_ms",
    "points_per_second",
    "scrape_ms",
)


def main() -> None:
    """Measure, print tables and one JSON line."""
    arguments = parse()
    console = Console(width=118)
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="bench-service-"))
    try:
        measured = {}
        for database in arguments.databases:
            with opened(database, work / database) as new_store:
                folder = work / database / "work"
                folder.mkdir(parents=True)
                measured[database] = api.measure(
                    new_store,
                    folder,
                    many=arguments.jobs,
                    rounds=arguments.rounds,
                    say=lambda what, database=database: console.print(f"{database}: {what}"),
                )
    finally:
        shutil.rmtree(work)
    figures = figures_of(measured)
    title = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, p99 in ms, medians"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in MEDIANS:
        table.add_column(name.replace("_", " "), justify="right")
    for database, found in measured.items():
        table.add_row(database, *(f"{median(found, name):,.1f}" for name in MEDIANS))
    console.print(table)
    console.print(figure_table(figures))
    document = {
        **{figure.name: figure.value for figure in figures},
        "targets_missed": [figure.name for figure in figures if figure.is_met is False],
        "measured": {database: asdict(found) for database, found in measured.items()},
        "run_s": round(time.monotonic() - started),
        "settings": {"jobs": arguments.jobs, "rounds": arguments.rounds},
    }
    print("BENCH", json.dumps(document))


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--jobs", type=int, default=api.MANY, help="jobs of the large store")
    parser.add_argument("--rounds", type=int, default=api.ROUNDS)
    return parser.parse_args()


def figures_of(measured: dict[str, api.Api]) -> list[Figure]:
    """Return what was aimed at; of several databases the worst."""

    def worst(name: str, to: str | None = None) -> float:
        return max(
            median(found, name) / (1 if to is None else median(found, to))
            for found in measured.values()
        )

    slowest = min(median(found, "points_per_second") for found in measured.values())
    return [
        Figure("get_job_p99_ms", worst("get_many"), 25, at_most=True),
        Figure("get_job_p99_ratio_100k_to_1k", worst("get_many", "get_few"), 1.5, at_most=True),
        Figure("list_jobs_p99_ms", worst("list_many"), 25, at_most=True),
        Figure("list_jobs_p99_ratio_100k_to_1k", worst("list_many", "list_few"), 1.5, at_most=True),
        Figure("points_per_second", slowest, 2000 * 0.95),
        Figure("get_job_p99_ratio_reporting", worst("get_reporting", "get_quiet"), 2, at_most=True),
        Figure("metrics_scrape_ms", worst("scrape_ms"), 300, at_most=True),
    ]


def median(found: api.Api, name: str) -> float:
    """Return the median over rounds."""
    return statistics.median(getattr(found, name))


if __name__ == "__main__":
    main()
