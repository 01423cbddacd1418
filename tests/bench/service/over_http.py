"""The part over HTTP: how the API answers on each database."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from tests.bench.figures import Figure
from tests.bench.service import api
from tests.bench.service.databases import opened
from tests.bench.service.part import Part, Say

_MEDIANS = (
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


def measure(
    folder: Path, say: Say, *, databases: Sequence[str], many: int, rounds: int | None
) -> Part:
    """Measure each database; `many`: jobs of the large store; `rounds`: None for as it comes."""
    found = {}

    def saying(database: str) -> Say:
        return lambda what: say(f"{database}: {what}")

    for database in databases:
        with opened(database, folder / database) as new_store:
            work = folder / database / "work"
            work.mkdir(parents=True)
            found[database] = api.measure(
                new_store,
                work,
                many=many,
                rounds=api.ROUNDS if rounds is None else rounds,
                say=saying(database),
            )
    return Part(
        figures=figures(found),
        measured={database: asdict(one) for database, one in found.items()},
        tables=[_table(found)],
    )


def figures(measured: dict[str, api.Api]) -> list[Figure]:
    """Return what was aimed at; of several databases the worst."""

    def worst(name: str, to: str | None = None) -> float:
        return max(
            _median(found, name) / (1 if to is None else _median(found, to))
            for found in measured.values()
        )

    slowest = min(_median(found, "points_per_second") for found in measured.values())
    return [
        Figure("get_job_p99_ms", worst("get_many"), 25, at_most=True),
        Figure("get_job_p99_ratio_100k_to_1k", worst("get_many", "get_few"), 1.5, at_most=True),
        Figure("list_jobs_p99_ms", worst("list_many"), 25, at_most=True),
        Figure("list_jobs_p99_ratio_100k_to_1k", worst("list_many", "list_few"), 1.5, at_most=True),
        Figure("points_per_second", slowest, 2000 * 0.95),
        Figure("get_job_p99_ratio_reporting", worst("get_reporting", "get_quiet"), 2, at_most=True),
        Figure("metrics_scrape_ms", worst("scrape_ms"), 300, at_most=True),
    ]


def _table(measured: dict[str, api.Api]) -> Table:
    table = Table(title="Over HTTP: p99 in ms, medians of rounds", title_justify="left")
    table.add_column("")
    for name in _MEDIANS:
        table.add_column(name.replace("_", " "), justify="right")
    for database, found in measured.items():
        table.add_row(database, *(f"{_median(found, name):,.1f}" for name in _MEDIANS))
    return table


def _median(found: api.Api, name: str) -> float:
    return statistics.median(getattr(found, name))
