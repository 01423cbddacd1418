"""Kill the product, many times over: `python -m tests.faults.kills --kills 200 --seed 1`."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.faults.kills.campaign import Campaign
from tests.faults.kills.page import page
from tests.faults.report import rows, table
from tests.faults.trials import SEED
from tests.last_rites import last_rites


def main(
    kills: Annotated[int, typer.Option(min=1, help="How many processes.")] = 200,
    seed: Annotated[int, typer.Option(help="Decides who is killed, and when.")] = SEED,
    lanes: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 2,
    report: Annotated[Path | None, typer.Option(help="A page of Markdown to write.")] = None,
) -> None:
    """Kill, print the table, and end with 1 if anything is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="alexnet-kills-"))
    # What is started has the environment as it is when the campaign is made.
    with last_rites():
        campaign = Campaign(folder, num_processes=kills, seed=seed, say=_say)
        try:
            campaign.run(lanes)
        finally:
            if sys.exception() or any(trial.violations for trial in campaign.trials):
                _say(f"what the service said and wrote is kept in {folder}")
            else:
                shutil.rmtree(folder)
    Console(width=120).print(table(rows(campaign.trials)))
    if report is not None:
        report.write_text(page(campaign, num_lanes=lanes, kills=kills, seed=seed))
    for trial in campaign.trials:
        for violation in trial.violations:
            _say(f"{trial.fault}, seed {trial.seed}: {violation}")
    sys.exit(any(trial.violations for trial in campaign.trials))


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    typer.run(main)
