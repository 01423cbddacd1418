"""Pages of jobs, the newest first: cut from an index in which what is passed over is bounded."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    Integer,
    Select,
    and_,
    bindparam,
    exists,
    func,
    not_,
    select,
    true,
    union,
)

from service.access.caller import Caller
from service.store.ownership import audience, visible_to
from service.store.rows import STORED_JOBS
from service.store.tables import jobs, labels
from trainer.contract.status import TERMINAL, Status

# To count further takes longer than to pass over so many (measured).
_COUNTED = 1000
# To make a statement takes longer than to ask it. Each is of owners, statuses and numbers of
# labels, which are few.
_kept = lru_cache(maxsize=256)
_BEFORE = bindparam("before_seq", type_=Integer)
_LIMIT = bindparam("limit", type_=Integer)


class Query(NamedTuple):
    """A statement, and what it is asked with."""

    statement: Select[Any]
    values: Mapping[str, Any]


def page_of_jobs(
    connection: Connection,
    labelled: Sequence[tuple[str, str]],
    *,
    status: Status | None,
    seen_by: Caller,
    before_seq: int | None,
    limit: int,
) -> Query:
    """Return a query of the newest `limit` jobs of this status that have all of these labels.

    `before_seq`: of those that came before that one. Of jobs that have not ended, which are few,
    the page is cut from the indexes of statuses; of others from that of the label that the fewest
    have, unless fewer are told to the caller.
    """
    told = audience(seen_by)
    values: dict[str, Any] = {"limit": limit}
    for number, (key, value) in enumerate(labelled):
        values |= {f"key_{number}": key, f"value_{number}": value}
    first = None
    if labelled and (status is None or status in TERMINAL):
        first = _rarest(connection, values, len(labelled), told, status)
    if before_seq is not None:
        values["before_seq"] = before_seq
    is_after = before_seq is not None
    if first is None:
        return Query(_cut(told, status, len(labelled), is_after=is_after), values)
    statement = _cut_from_label(told, status, len(labelled), first, is_after=is_after)
    return Query(statement, values)


@_kept
def _cut_from_label(
    told: Caller, status: Status | None, num_labels: int, number: int, *, is_after: bool
) -> Select[Any]:
    """Return a query of the newest that have a label, by its number, and the others too."""
    first = labels.alias()
    query = STORED_JOBS.join(first, _is_on_job(first, number)).where(visible_to(told))
    query = query.where(*(_has_label(other) for other in range(num_labels) if other != number))
    if status is not None:
        query = query.where(jobs.c.status == status)
    if is_after:
        query = query.where(first.c.job_seq < _BEFORE)
    return query.order_by(first.c.job_seq.desc()).limit(_LIMIT)


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


@_kept
def _cut(told: Caller, status: Status | None, num_labels: int, *, is_after: bool) -> Select[Any]:
    """Return a query of the newest of each of the indexes, together."""
    conditions = [_has_label(number) for number in range(num_labels)]
    newest = jobs.c.seq.desc()
    if is_after:
        conditions.append(jobs.c.seq < _BEFORE)
    whose = _told_to(told, status)
    if len(whose) == 1:
        return STORED_JOBS.where(*whose, *conditions).order_by(newest).limit(_LIMIT)
    each = [
        select(jobs.c.seq).where(one, *conditions).order_by(newest).limit(_LIMIT).subquery()
        for one in whose
    ]
    found = union(*(select(one.c.seq) for one in each))
    return STORED_JOBS.where(jobs.c.seq.in_(found)).order_by(newest).limit(_LIMIT)


def _rarest(
    connection: Connection,
    values: Mapping[str, Any],
    num_labels: int,
    told: Caller,
    status: Status | None,
) -> int | None:
    """Return which label the fewest jobs have; None: fewer are of this status, and told of.

    Of those that more than _COUNTED have the first counts as the rarest.
    """
    is_of_all = told.is_admin and status is None
    if is_of_all and num_labels == 1:
        return 0
    counts = connection.execute(_counts(told, status, num_labels), values).one()
    of_labels, of_others = counts[:num_labels], counts[num_labels:]
    fewest = min(of_labels)
    return None if of_others and sum(of_others) < fewest else of_labels.index(fewest)


@_kept
def _counts(told: Caller, status: Status | None, num_labels: int) -> Executable:
    """Return a query of how many jobs have each label, and meet each condition of the others."""
    is_of_all = told.is_admin and status is None
    others = [] if is_of_all else _told_to(told, status)
    sources = [select(labels.c.job_seq).where(_is(labels, one)) for one in range(num_labels)]
    sources += [select(jobs.c.seq).where(one) for one in others]
    return select(*map(_count, sources))


def _count(query: Select[Any]) -> ColumnElement[int]:
    within = query.limit(_COUNTED).subquery()
    return select(func.count()).select_from(within).scalar_subquery()


def _has_label(number: int) -> ColumnElement[bool]:
    label = labels.alias()
    return exists().where(_is_on_job(label, number))


def _is_on_job(label: FromClause, number: int) -> ColumnElement[bool]:
    return and_(label.c.job_id == jobs.c.id, _is(label, number))


def _is(label: FromClause, number: int) -> ColumnElement[bool]:
    return and_(
        label.c.key == bindparam(f"key_{number}"), label.c.value == bindparam(f"value_{number}")
    )
