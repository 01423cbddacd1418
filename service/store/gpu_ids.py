"""Which GPUs attempts say that they were given."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, select

from service.store.jobs import UNREADABLE
from service.store.rows import event_of
from service.store.tables import events, jobs
from trainer.contract.events import Started


def read_gpu_ids(
    connection: Connection, job_ids: Collection[str]
) -> Mapping[str, Sequence[Sequence[str]]]:
    """Return, by job, the GPUs of each replica of its newest attempt, of those that told of any."""
    # An attempt begins with it.
    query = (
        select(events)
        .join(jobs, (jobs.c.id == events.c.job_id) & (jobs.c.attempt == events.c.attempt))
        .where(jobs.c.id.in_(job_ids), events.c.attempt_event == 1)
    )
    told: dict[str, Sequence[Sequence[str]]] = {}
    for row in connection.execute(query):
        try:
            data = event_of(row).data
        except UNREADABLE:
            continue
        if isinstance(data, Started) and any(data.gpu_ids):
            told[row.job_id] = data.gpu_ids
    return told
