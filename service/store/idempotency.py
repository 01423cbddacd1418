"""Idempotency keys: which request made which job, so that the same sent again makes no other.

A key is reserved before any work is done for a request. It is completed in the transaction that
stores the job, or released where the request is refused. Where neither can be, as the store has
gone, the reservation stays, and is taken over by whoever sends the request again: at once where its
request is known to have ended, here or with a leader before this one, whose writes are refused;
else after a while. Should that request go on after all, its job is not stored.
"""

import secrets
from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.store.leases import read_lease
from service.store.tables import idempotency_keys

# Admission reads two manifests and some checkpoints, each within seconds (assumed).
RESERVED_FOR = timedelta(minutes=2)
# A key can be released and reserved by others between two looks at it, again and again.
_NUM_LOOKS = 5


@dataclass(frozen=True, kw_only=True)
class KeyedRequest:
    """A request and the key that it came with."""

    owner: str | None
    """Keys are their owner's; None where no tokens are asked for."""
    key: str
    body_sha256: str


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """The right to make the one job of a key, once it is stored."""

    request: KeyedRequest
    holder: str = field(default_factory=lambda: secrets.token_hex(8))
    """Nobody else's."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """The key has made its job."""

    job_id: str


class KeyInUseError(RuntimeError):
    """A request with this key is being worked on; sent again, it gets the first one's answer."""

    def __init__(self, key: str) -> None:
        super().__init__(f"a request with the Idempotency-Key {key!r} is in work; send it again")


class KeyReusedError(ValueError):
    """The key has made a job of another request."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the Idempotency-Key {key!r} came with another request before, and made a job of it; "
            "use a new key for a new job"
        )


def reserve(
    connection: Connection,
    reservation: Reservation,
    now: datetime,
    *,
    keep_for: timedelta,
    in_work: Container[str] | None = None,
) -> Made | None:
    """Store a reservation, or return what its key has made; forget keys older than `keep_for`.

    `in_work`: the holders whose requests have not ended, of those that the leader has; None: that
    is not known.
    Raises KeyInUseError while the first request is in work, KeyReusedError if it was another.
    """
    request = reservation.request
    connection.execute(
        delete(idempotency_keys).where(idempotency_keys.c.created_at < now - keep_for)
    )
    lease = read_lease(connection)
    fence = 0 if lease is None else lease.fence
    values = {
        "body_sha256": request.body_sha256,
        "holder": reservation.holder,
        "fence": fence,
        "created_at": now,
    }
    for _ in range(_NUM_LOOKS):
        query = select(idempotency_keys).where(_is_key_of(request)).with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None:
            try:
                with connection.begin_nested():
                    connection.execute(
                        insert(idempotency_keys).values(
                            owner=request.owner or "", key=request.key, **values
                        )
                    )
            except IntegrityError:
                continue
            return None
        if row.job_id is not None:
            if row.body_sha256 != request.body_sha256:
                raise KeyReusedError(request.key)
            return Made(job_id=row.job_id)
        # By a clock that was set back it would be of the future.
        is_recent = timedelta(0) <= now - row.created_at < RESERVED_FOR
        # The leader's own, without whom there is no fence.
        has_ended = lease is not None and in_work is not None and row.holder not in in_work
        if is_recent and row.fence >= fence and not has_ended:
            raise KeyInUseError(request.key)
        connection.execute(update(idempotency_keys).where(_is_key_of(request)).values(**values))
        return None
    raise KeyInUseError(request.key)


def complete(connection: Connection, reservation: Reservation, job_id: str) -> None:
    """Write down what the key has made, in the transaction that stores the job.

    Raises KeyInUseError if the reservation was taken over; the job must not be stored then.
    """
    completed = connection.execute(
        update(idempotency_keys).where(_is_held(reservation)).values(job_id=job_id)
    )
    if completed.rowcount != 1:
        raise KeyInUseError(reservation.request.key)


def release(connection: Connection, reservation: Reservation) -> None:
    """Give a key that has made nothing back; one that was taken over, or has, stays."""
    connection.execute(delete(idempotency_keys).where(_is_held(reservation)))


def _is_key_of(request: KeyedRequest) -> ColumnElement[bool]:
    return and_(
        idempotency_keys.c.owner == (request.owner or ""), idempotency_keys.c.key == request.key
    )


def _is_held(reservation: Reservation) -> ColumnElement[bool]:
    return and_(
        _is_key_of(reservation.request),
        idempotency_keys.c.holder == reservation.holder,
        idempotency_keys.c.job_id.is_(None),
    )
