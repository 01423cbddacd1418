"""The loss of jobs in a few points each, for lines the size of a word: one of each range of steps.

Neither means nor extremes, which `points` tells: a table of jobs asks for many at once.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, ScalarSelect, bindparam, select

from service.jobs.history import Stretch, buckets, stretches
from service.store.tables import attempts, points
from trainer.contract.lineage import step_of

POINTS = 32


def read_outlines(connection: Connection, steps: Mapping[str, int]) -> dict[str, list[float]]:
    """Return the losses of jobs by id, in the order of steps; `steps`: how many each has done."""
    starts: dict[str, list[tuple[int, int]]] = defaultdict(list)
    begun = select(attempts.c.job_id, attempts.c.number, attempts.c.resume_from)
    for row in connection.execute(begun.where(attempts.c.job_id.in_(steps))):
        after = 0 if row.resume_from is None else step_of(row.resume_from)
        starts[row.job_id].append((row.number, after))
    return {
        job_id: _outline(connection, job_id, stretches(starts[job_id], last_step=step), step)
        for job_id, step in steps.items()
    }


def _outline(connection: Connection, job_id: str, lineage: list[Stretch], last: int) -> list[float]:
    if last < 1:
        return []
    asked: dict[str, Any] = {"job": job_id}
    for number in range(POINTS):
        # Of ranges that there are not, nothing is found.
        asked |= {f"attempt_{number}": 0, f"first_{number}": 1, f"last_{number}": 0}
    for number, (attempt, first, end) in enumerate(_ranges(lineage, last)):
        asked |= {f"attempt_{number}": attempt, f"first_{number}": first, f"last_{number}": end}
    return [loss for loss in connection.execute(_OUTLINE, asked).one() if loss is not None]


def _ranges(lineage: list[Stretch], last: int) -> Iterator[tuple[int, int, int]]:
    """Cut [1, last] into ranges, each of the attempt whose points count at its end."""
    for start, end in buckets(1, last, at_most=POINTS):
        for one in lineage:
            if one.after < end <= one.through:
                yield one.attempt, max(start, one.after + 1), end


def _last_of(number: int) -> ScalarSelect[Any]:
    return (
        select(points.c.loss)
        .where(
            points.c.job_id == bindparam("job"),
            points.c.attempt == bindparam(f"attempt_{number}"),
            points.c.step >= bindparam(f"first_{number}"),
            points.c.step <= bindparam(f"last_{number}"),
        )
        .order_by(points.c.step.desc())
        .limit(1)
        .scalar_subquery()
    )


# A seek in the key of the table for each range, all in one statement, compiled once.
_OUTLINE = select(*(_last_of(number).label(f"loss_{number}") for number in range(POINTS)))
