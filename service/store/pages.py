"""Pages of jobs, the newest first: cut from an index in which what is passed over is bounded."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    exists,
    func,
    not_,
    select,
    true,
    union,
)

from service.access.caller import Caller
from service.store.ownership import visible_to
from service.store.rows import STORED_JOBS
from service.store.tables import jobs, labels
from trainer.contract.status import TERMINAL, Status

# To count further takes longer than to pass over so many (measured).
_COUNTED = 1000


def page_of_jobs(
    connection: Connection,
    labelled: Sequence[tuple[str, str]],
    *,
    status: Status | None,
    seen_by: Caller,
    before_seq: int | None,
    limit: int,
) -> Select[Any]:
    """Return a query of the newest `limit` jobs of this status that have all of these labels.

    `before_seq`: of those that came before that one. Of jobs that have not ended, which are few,
    the page is cut from the indexes of statuses; of others from that of the label that the fewest
    have, unless fewer are told to the caller.
    """
    rest = list(labelled)
    label = None
    if labelled and (status is None or status in TERMINAL):
        label = _rarest(connection, labelled, seen_by, status)
    if label is None:
        conditions = [has_label(*one) for one in rest]
        return _cut(_told_to(seen_by, status), conditions, before_seq, limit)
    rest.remove(label)
    first = labels.alias()
    query = STORED_JOBS.join(first, _is_on_job(first, *label)).where(visible_to(seen_by))
    query = query.where(*(has_label(*one) for one in rest))
    if status is not None:
        query = query.where(jobs.c.status == status)
    if before_seq is not None:
        query = query.where(first.c.job_seq < before_seq)
    return query.order_by(first.c.job_seq.desc()).limit(limit)


def _told_to(caller: Caller, status: Status | None) -> list[ColumnElement[bool]]:
    """Return conditions of an index each, of which all jobs that the caller sees meet one."""
    whose: list[ColumnElement[bool]] = [true()]
    if not caller.is_admin:
        whose = [not_(jobs.c.private)]
        if caller.owner is not None:
            whose.append(jobs.c.owner == caller.owner)
    if status is None:
        return whose
    return [and_(one, jobs.c.status == status) for one in whose]


def _cut(
    told: Sequence[ColumnElement[bool]],
    conditions: Sequence[ColumnElement[bool]],
    before_seq: int | None,
    limit: int,
) -> Select[Any]:
    """Return a query of the newest of each of the indexes, together."""
    newest = jobs.c.seq.desc()
    if before_seq is not None:
        conditions = [*conditions, jobs.c.seq < before_seq]
    if len(told) == 1:
        return STORED_JOBS.where(*told, *conditions).order_by(newest).limit(limit)
    each = [
        select(jobs.c.seq).where(one, *conditions).order_by(newest).limit(limit).subquery()
        for one in told
    ]
    found = union(*(select(one.c.seq) for one in each))
    return STORED_JOBS.where(jobs.c.seq.in_(found)).order_by(newest).limit(limit)


def _rarest(
    connection: Connection,
    labelled: Sequence[tuple[str, str]],
    seen_by: Caller,
    status: Status | None,
) -> tuple[str, str] | None:
    """Return the label that the fewest jobs have; None: fewer are of this status, and told of.

    Of those that more than _COUNTED have the first counts as the rarest.
    """
    is_of_all = seen_by.is_admin and status is None
    if is_of_all and len(labelled) == 1:
        return labelled[0]
    sources = [select(labels.c.job_seq).where(_is(labels, *one)) for one in labelled]
    others = [] if is_of_all else _told_to(seen_by, status)
    sources += [select(jobs.c.seq).where(one) for one in others]
    counts = connection.execute(select(*map(_count, sources))).one()
    of_labels, of_others = counts[: len(labelled)], counts[len(labelled) :]
    fewest = min(of_labels)
    return None if others and sum(of_others) < fewest else labelled[of_labels.index(fewest)]


def _count(query: Select[Any]) -> ColumnElement[int]:
    within = query.limit(_COUNTED).subquery()
    return select(func.count()).select_from(within).scalar_subquery()


def has_label(key: str, value: str) -> ColumnElement[bool]:
    """Condition on `jobs` that the job has a label."""
    label = labels.alias()
    return exists().where(_is_on_job(label, key, value))


def _is_on_job(label: FromClause, key: str, value: str) -> ColumnElement[bool]:
    return and_(label.c.job_id == jobs.c.id, _is(label, key, value))


def _is(label: FromClause, key: str, value: str) -> ColumnElement[bool]:
    return and_(label.c.key == key, label.c.value == value)
