"""What was foreseen of jobs when they were accepted."""

from sqlalchemy import Connection, String, case, cast, select

from service.store.dialects import IsJson
from service.store.tables import jobs


def read_planned_samples(connection: Connection, job_id: str) -> int | None:
    """Return how many samples the set has that a job goes through; None: no plan tells it."""
    told = cast(case((IsJson(jobs.c.plan), jobs.c.plan["num_samples"])), String)
    found = connection.execute(select(told).where(jobs.c.id == job_id)).scalar()
    return int(found) if found is not None and found.isdecimal() else None
