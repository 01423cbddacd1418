"""Changing a job's spec where that may be: its priority and its labels."""

from datetime import datetime

from sqlalchemy import Connection, delete

from service.access.audit import Action
from service.access.caller import Caller
from service.jobs.editing import Edit, edited
from service.store.audit import note_audit
from service.store.changes import append_event
from service.store.jobs import add_labels, read_job, write_spec
from service.store.tables import labels


def edit_job(connection: Connection, job_id: str, edit: Edit, by: Caller, now: datetime) -> None:
    """Change a job, tell of it and write down who did; what is as it is already is no change.

    Raises JobNotFoundError, UnreadableJobError and what `edited` does.
    """
    job = read_job(connection, job_id, lock=True)
    spec, change = edited(job, edit)
    if change is None:
        return
    write_spec(connection, job_id, spec)
    if change.labels:
        connection.execute(delete(labels).where(labels.c.job_id == job_id))
        add_labels(connection, job_id, spec.labels)
    append_event(connection, job_id, now, change)
    told = change.model_dump(mode="json", exclude={"kind"}, exclude_defaults=True)
    note_audit(connection, by, Action.EDIT, job_id, now, **told)
