"""The loss beside each checkpoint, from the points that attempts report."""

from collections.abc import Iterable

from sqlalchemy import Connection, select

from service.store.tables import points


def loss_before(connection: Connection, job_id: str, attempt: int, step: int) -> float | None:
    """Return the loss that an attempt reported last when it had done `step` steps; None: none."""
    query = (
        select(points.c.loss)
        .where(points.c.job_id == job_id, points.c.attempt == attempt, points.c.step <= step)
        .order_by(points.c.step.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def losses_before(
    connection: Connection, job_id: str, places: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], float | None]:
    """Return those of several places, each an attempt and its steps."""
    return {place: loss_before(connection, job_id, *place) for place in places}
