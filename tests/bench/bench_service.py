"""What the control plane costs, and how it bears its load.

    python -m tests.bench.bench_service [--only http] [--databases sqlite postgresql]

Each part says in its module what it measures and how. All run one after the other; at the end come
the tables and one line of JSON.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import tempfile
import time
from functools import partial
from pathlib import Path
from types import FrameType

from rich.console import Console

from tests.bench.figures import figure_table
from tests.bench.service import (
    api,
    bare_loop,
    checkpoint_stall,
    first_step,
    over_http,
)
from tests.bench.service.databases import DATABASES
from tests.bench.service.part import Measure, Part

PARTS = ("http", "first-step", "bare-loop", "checkpoint-stall")


def parts(arguments: argparse.Namespace) -> dict[str, Measure]:
    """Return what each part is measured by, in order."""
    return {
        "http": partial(
            over_http.measure,
            databases=arguments.databases,
            many=arguments.jobs,
            rounds=arguments.rounds,
        ),
        "first-step": partial(first_step.measure, rounds=arguments.rounds),
        "bare-loop": partial(bare_loop.measure, rounds=arguments.rounds),
        "checkpoint-stall": partial(checkpoint_stall.measure, rounds=arguments.rounds),
    }


def main() -> None:
    """Measure, print tables and one JSON line."""
    arguments = parse()
    # As Ctrl-C does: what was started is ended, what was written is removed.
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(width=118)
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="bench-service-"))
    found: dict[str, Part] = {}
    try:
        for name, measure in parts(arguments).items():
            if name not in arguments.only:
                continue
            folder = work / name
            folder.mkdir()

            def say(what: str, name: str = name) -> None:
                console.print(f"{time.monotonic() - started:5.0f} s  {name}: {what}")

            found[name] = measure(folder, say)
            shutil.rmtree(folder)
    finally:
        shutil.rmtree(work)
    console.print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    for part in found.values():
        for table in part.tables:
            console.print(table)
    figures = [figure for part in found.values() for figure in part.figures]
    console.print(figure_table(figures))
    document = {
        **{figure.name: figure.value for figure in figures},
        "targets_missed": [figure.name for figure in figures if figure.is_met is False],
        "measured": {name: part.measured for name, part in found.items()},
        "run_s": round(time.monotonic() - started),
        "settings": vars(arguments),
    }
    print("BENCH", json.dumps(document))


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    parser.add_argument("--rounds", type=int, help="of each part; otherwise each has its own")
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--jobs", type=int, default=api.MANY, help="jobs of the large store")
    return parser.parse_args()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
