"""The table of faults: how often each was tried, what was violated, how long it took."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

from rich.table import Table

from tests.faults.trials import Trial

# Of the table of faults, those that the service has to bear by itself; the others are struck at in
# containers (9 to 12) or are the data plane's (8, 19, 20).
DEMANDED = (*map(str, (*range(1, 8), *range(13, 19), 21)), "attack")


@dataclass(frozen=True)
class Row:
    """All trials of one fault."""

    row: str
    fault: str
    trials: int
    violations: int
    """How many trials violated an invariant, those without their guard left out."""
    noticed: str
    """How many of the trials without their guard were noticed: "2 of 2"; "" where none was made."""
    detect_p50_s: float | None
    detect_max_s: float | None
    recover_p50_s: float | None
    recover_max_s: float | None
    steps_redone: int | None
    """Over all trials."""


def rows(trials: Iterable[Trial]) -> list[Row]:
    """Return a row for each fault, in order of the table of faults."""

    def place(trial: Trial) -> tuple[bool, int, str, str]:
        number = "".join(filter(str.isdigit, trial.row))
        return not number, int(number or 0), trial.row, trial.fault

    return [_row(list(group)) for _, group in groupby(sorted(trials, key=place), key=place)]


def untried(report: Iterable[Row]) -> list[str]:
    """Return the demanded rows of which there is no trial with its guard on."""
    tried = {row.row for row in report if row.trials}
    return [row for row in DEMANDED if row not in tried]


def _row(trials: Sequence[Trial]) -> Row:
    guarded = [trial for trial in trials if not trial.unguarded]
    unguarded = [trial for trial in trials if trial.unguarded]
    noticed = sum(bool(trial.violations) for trial in unguarded)
    detect = [trial.detect_s for trial in guarded if trial.detect_s is not None]
    recover = [trial.recover_s for trial in guarded if trial.recover_s is not None]
    redone = [trial.steps_redone for trial in guarded if trial.steps_redone is not None]
    return Row(
        row=trials[0].row,
        fault=trials[0].fault,
        trials=len(guarded),
        violations=sum(bool(trial.violations) for trial in guarded),
        noticed=f"{noticed} of {len(unguarded)}" if unguarded else "",
        detect_p50_s=statistics.median(detect) if detect else None,
        detect_max_s=max(detect, default=None),
        recover_p50_s=statistics.median(recover) if recover else None,
        recover_max_s=max(recover, default=None),
        steps_redone=sum(redone) if redone else None,
    )


def table(report: Sequence[Row]) -> Table:
    """Return the report for a terminal."""
    shown = Table(title="Faults", title_justify="left", caption=_CAPTION, caption_justify="left")
    shown.add_column("row", justify="right")
    shown.add_column("fault", overflow="fold")
    for column in ("trials", "violations", "noticed", "detect, s", "recover, s", "redone"):
        shown.add_column(column, justify="right")
    for row in report:
        shown.add_row(
            row.row,
            row.fault,
            str(row.trials),
            str(row.violations),
            row.noticed,
            _span(row.detect_p50_s, row.detect_max_s),
            _span(row.recover_p50_s, row.recover_max_s),
            "" if row.steps_redone is None else str(row.steps_redone),
        )
    return shown


_CAPTION = (
    "noticed: trials with their guard turned off, whose violation was found. "
    "Times: p50 / longest. redone: steps trained again."
)


def _span(middle: float | None, longest: float | None) -> str:
    return "" if middle is None or longest is None else f"{middle:.1f} / {longest:.1f}"


def as_json(report: Sequence[Row]) -> str:
    """Return the report in one line."""
    return json.dumps(
        {
            "trials": sum(row.trials for row in report),
            "violations": sum(row.violations for row in report),
            "rows": [asdict(row) for row in report],
        }
    )
