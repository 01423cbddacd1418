"""The page that tells of the kills, as it is in docs/."""

import os
from collections.abc import Iterable, Sequence

from tests.faults.kills.campaign import Campaign
from tests.faults.kills.roles import Kill
from tests.faults.report import Row, rows

_PAGE = """# Faults

`make test-faults` strikes the product with each fault and attack of its table, and prints what came
of it; `TRIALS=N` tries each N times. This page is of many kills in a row. A program wrote it
(`tests/faults/kills`), run so:

    {command} \\
        --report docs/faults.md

On a machine of {cores} cores: a control plane with a Ray of its own, and {lanes} jobs at a time, of
one replica or three, 510 steps each with a checkpoint every 10. Who is struck, and when, a seed
decides: so many steps after an attempt's first, at any moment of a step, of an evaluation or of a
checkpoint that is being written; at which job, the machine decides. Some jobs are paused and
resumed in between; some make room for one of higher priority, which is counted among them.

**{killed} processes killed in {strikes} strikes at {jobs} jobs: {violations} violations.**
{sentence}

Of the steps that were trained {redone} were lost with an attempt, and trained again. It took
{minutes:.0f} minutes.

| row | what happens | strikes | violations | noticed, s | next step, s |
|---|---|---:|---:|---:|---:|
{lines}

Times are the median / the longest, from the strike. Noticed: until the control plane has the end of
the attempt. Next step: until the job is at work again; where the control plane alone dies, until
that is, for its jobs go on. Rows are those of the table of faults: 1, the control plane dies; 5, a
process of an attempt dies; 6, a worker hangs.
"""

_ALL_HOLDS = """Each job succeeded, and once; its weights have the sha256 of a run that nothing
happened to; no attempt failed that was not struck, or interrupted by a restart of the service with
its Ray; a worker that hangs is told as one; its ledgers show each sample once an epoch; what its
attempts told is in the store, each event once; no process, resource of Ray, shared memory or
half-written file is left."""


def page(campaign: Campaign, *, num_lanes: int, kills: int, seed: int) -> str:
    """Return the page, in Markdown."""
    violations = sum(len(trial.violations) for trial in campaign.trials)
    return _PAGE.format(
        command=f"python -m tests.faults.kills --kills {kills} --seed {seed} --lanes {num_lanes}",
        cores=os.cpu_count(),
        lanes=num_lanes,
        killed=_num_processes(campaign.kills),
        strikes=len(campaign.kills),
        jobs=len(campaign.done),
        violations=violations,
        sentence="What they are, the program told." if violations else _ALL_HOLDS,
        redone=sum(trial.steps_redone or 0 for trial in campaign.trials),
        minutes=campaign.seconds / 60,
        lines="\n".join(_lines(rows(one for one in campaign.trials if one is not campaign.end))),
    )


def _num_processes(kills: Sequence[Kill]) -> int:
    return sum(kill.num_processes for kill in kills)


def _lines(report: Iterable[Row]) -> Iterable[str]:
    for row in report:
        noticed = _span(row.detect_p50_s, row.detect_max_s)
        went_on = _span(row.recover_p50_s, row.recover_max_s)
        counts = f"{row.trials} | {row.violations}"
        yield f"| {row.row} | {row.fault} | {counts} | {noticed} | {went_on} |"


def _span(middle: float | None, longest: float | None) -> str:
    return "" if middle is None or longest is None else f"{middle:.1f} / {longest:.1f}"
