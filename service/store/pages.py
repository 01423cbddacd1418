"""Pages of jobs by age: cut from an index in which what is passed over is bounded."""

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
    String,
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
from service.store.ownership import audience, sees_all_of, visible_to
from service.store.rows import STORED_JOBS
from service.store.tables import jobs, labels
from trainer.contract.status import TERMINAL, Status

# To count further takes longer than to pass over so many (measured).
_COUNTED = 1000
# To make a statement takes longer than to ask it. Each is of owners, statuses and numbers of
# labels, which are few.
_kept = lru_cache(maxsize=256)
_CURSOR = bindparam("cursor", type_=Integer)
_OWNER = bindparam("owner", type_=String)
_LIMIT = bindparam("limit", type_=Integer)


class Query(NamedTuple):
    """A statement, and what it is asked with."""

    statement: Select[Any]
    values: Mapping[str, Any]


class _Asked(NamedTuple):
    """What makes one statement another."""

    told: Caller
    status: Status | None
    num_labels: int
    is_of_owner: bool
    """Whether it is of the jobs of one owner."""
    sees_all: bool
    """Whether the caller is told of whatever that owner has."""
    goes_on: bool
    """Whether another page came before."""
    oldest_first: bool

    @property
    def is_of_all(self) -> bool:
        return self.told.is_admin and self.status is None and not self.is_of_owner

    def by_age(self, seq: ColumnElement[int]) -> ColumnElement[int]:
        return seq.asc() if self.oldest_first else seq.desc()

    def on(self, seq: ColumnElement[int]) -> list[ColumnElement[bool]]:
        if not self.goes_on:
            return []
        return [seq > _CURSOR if self.oldest_first else seq < _CURSOR]


def page_of_jobs(
    connection: Connection,
    labelled: Sequence[tuple[str, str]],
    *,
    status: Status | None,
    owner: str | None,
    seen_by: Caller,
    cursor: int | None,
    oldest_first: bool,
    limit: int,
) -> Query:
    """Return a query of the newest or oldest `limit` jobs of this status with all of these labels.

    `owner`: whose; `cursor`: on from the job of that `seq`. Of jobs that have not ended, which are
    few, the page is cut from the indexes of statuses; of others from that of the label that the
    fewest have, unless fewer are told to the caller. What another owner has for themselves alone is
    passed over, however much that is.
    """
    asked = _Asked(
        told=audience(seen_by),
        status=status,
        num_labels=len(labelled),
        is_of_owner=owner is not None,
        sees_all=owner is not None and sees_all_of(seen_by, owner),
        goes_on=cursor is not None,
        oldest_first=oldest_first,
    )
    values: dict[str, Any] = {"limit": limit}
    values |= {} if owner is None else {"owner": owner}
    for number, (key, value) in enumerate(labelled):
        values |= {f"key_{number}": key, f"value_{number}": value}
    first = None
    if labelled and (status is None or status in TERMINAL):
        first = _rarest(connection, values, asked)
    values |= {} if cursor is None else {"cursor": cursor}
    return Query(_cut(asked) if first is None else _cut_from_label(asked, first), values)


@_kept
def _cut_from_label(asked: _Asked, number: int) -> Select[Any]:
    """Return a query of the first that have a label, by its number, and the others too."""
    first = labels.alias()
    query = STORED_JOBS.join(first, _is_on_job(first, number)).where(visible_to(asked.told))
    others = (other for other in range(asked.num_labels) if other != number)
    query = query.where(*map(_has_label, others))
    if asked.is_of_owner:
        query = query.where(jobs.c.owner == _OWNER)
    if asked.status is not None:
        query = query.where(jobs.c.status == asked.status)
    query = query.where(*asked.on(first.c.job_seq))
    return query.order_by(asked.by_age(first.c.job_seq)).limit(_LIMIT)


def _told_to(asked: _Asked) -> list[ColumnElement[bool]]:
    """Return conditions of an index each, of which all jobs that the caller sees meet one."""
    whose: list[ColumnElement[bool]] = [true()]
    if asked.is_of_owner:
        whose = [jobs.c.owner == _OWNER]
    elif not asked.told.is_admin:
        whose = [not_(jobs.c.private)]
        if asked.told.owner is not None:
            whose.append(jobs.c.owner == asked.told.owner)
    if asked.status is None:
        return whose
    return [and_(one, jobs.c.status == asked.status) for one in whose]


@_kept
def _cut(asked: _Asked) -> Select[Any]:
    """Return a query of the first of each of the indexes, together."""
    conditions = [_has_label(number) for number in range(asked.num_labels)]
    conditions += asked.on(jobs.c.seq)
    if asked.is_of_owner and not asked.sees_all:
        conditions.append(visible_to(asked.told))
    by_age = asked.by_age(jobs.c.seq)
    whose = _told_to(asked)
    if len(whose) == 1:
        return STORED_JOBS.where(*whose, *conditions).order_by(by_age).limit(_LIMIT)
    each = [
        select(jobs.c.seq).where(one, *conditions).order_by(by_age).limit(_LIMIT).subquery()
        for one in whose
    ]
    found = union(*(select(one.c.seq) for one in each))
    return STORED_JOBS.where(jobs.c.seq.in_(found)).order_by(by_age).limit(_LIMIT)


def _rarest(connection: Connection, values: Mapping[str, Any], asked: _Asked) -> int | None:
    """Return which label the fewest jobs have; None: fewer are of this status, and told of.

    Of those that more than _COUNTED have the first counts as the rarest.
    """
    if asked.is_of_all and asked.num_labels == 1:
        return 0
    # Of every page alike.
    counted = _counts(asked._replace(goes_on=False, oldest_first=False))
    counts = connection.execute(counted, values).one()
    of_labels, of_others = counts[: asked.num_labels], counts[asked.num_labels :]
    fewest = min(of_labels)
    return None if of_others and sum(of_others) < fewest else of_labels.index(fewest)


@_kept
def _counts(asked: _Asked) -> Executable:
    """Return a query of how many jobs have each label, and meet each condition of the others."""
    others = [] if asked.is_of_all else _told_to(asked)
    sources = [select(labels.c.job_seq).where(_is(labels, one)) for one in range(asked.num_labels)]
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
