"""The lease: which process may write, told by one row.

Each holder has a fence of its own, a number higher than any before. A transaction that writes
reads the row first: with another's fence there, it is refused. What stands in the row is compared
with what stood there before, and never with a time.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, Update, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from service.steady_clock import Reading
from service.store.errors import NotWrittenError
from service.store.tables import leases

_LEADER = "leader"
# As long as a lock of another process is waited for (see `engine`): who waits for a writer that
# waits for that, and then for it themselves, are answered after twice this.
_TURN_S = 5.0
# Asked in every transaction that writes: to make it takes longer than to run it. Renewals pass
# beside this lock, and takeovers wait.
_HELD_BY = (
    select(leases.c.fence, leases.c.url)
    .where(leases.c.name == _LEADER)
    .with_for_update(read=True, key_share=True)
)


@dataclass(frozen=True, kw_only=True)
class LeaseRecord:
    """The lease as it stands."""

    holder: str
    """Which process, as `reconciling.holder` tells it."""
    url: str
    """Where it is reached."""
    duration_s: float
    """So long after its last renewal it may be taken from its holder, by whoever's clock."""
    fence: int
    renewals: int
    released: bool
    clock: Reading | None = None
    """What the holder told as the present moment when it took, renewed or released it."""


class LostLeadershipError(RuntimeError):
    """This process does not lead, or no longer: what it would have written is not."""

    def __init__(self, leader: str = "another process") -> None:
        super().__init__(f"this control plane does not lead; send it to the leader: {leader}")


def has_leases(connection: Connection) -> bool:
    """Say whether the store's schema is one that knows leases."""
    return inspect(connection).has_table(leases.name)


def read_lease(connection: Connection) -> LeaseRecord | None:
    """Return the lease; None: nobody has had it yet."""
    row = connection.execute(select(leases).where(leases.c.name == _LEADER)).one_or_none()
    if row is None:
        return None
    values = dict(row._mapping)
    del values["name"]
    clock = values.pop("clock")
    return LeaseRecord(**values, clock=None if clock is None else Reading(**clock))


def take_lease(
    connection: Connection,
    seen: LeaseRecord | None,
    *,
    holder: str,
    url: str,
    duration_s: float,
    clock: Reading,
) -> int | None:
    """Take the lease if it stands as it was seen; return the new fence, None: another was faster.

    What the holder before has begun to write is waited for.
    """
    values = {
        "holder": holder,
        "url": url,
        "duration_s": duration_s,
        "released": False,
        "clock": asdict(clock),
    }
    if seen is None:
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(leases).values(name=_LEADER, fence=1, renewals=1, **values)
                )
        except IntegrityError:
            return None
        return 1
    # Writers share the row by its key, which an update alone would not wait for.
    connection.execute(select(leases.c.fence).where(leases.c.name == _LEADER).with_for_update())
    fence = seen.fence + 1
    taken = connection.execute(
        update(leases)
        .where(
            leases.c.name == _LEADER,
            leases.c.fence == seen.fence,
            leases.c.renewals == seen.renewals,
        )
        .values(fence=fence, renewals=seen.renewals + 1, **values)
    )
    return fence if taken.rowcount == 1 else None


def renew_lease(connection: Connection, fence: int, clock: Reading) -> bool:
    """Show that the holder lives; False: it is another's by now."""
    renewed = connection.execute(
        _held(fence).values(renewals=leases.c.renewals + 1, clock=asdict(clock))
    )
    return renewed.rowcount == 1


def release_lease(connection: Connection, fence: int, clock: Reading) -> None:
    """Let the next one lead at once; of a lease that is another's by now, nothing changes."""
    connection.execute(_held(fence).values(released=True, clock=asdict(clock)))


def check_fence(connection: Connection, fence: int) -> None:
    """Raise LostLeadershipError unless the lease has this fence, and has until the commit."""
    row = connection.execute(_HELD_BY).one_or_none()
    if row is None or row.fence != fence:
        raise LostLeadershipError() if row is None else LostLeadershipError(row.url)


class FencedWrites:
    """Transactions that write: none of them is by a process that no longer leads."""

    def __init__(self, engine: Engine, fence: Callable[[], int] | None) -> None:
        """`fence`: gives this process's own, or raises LostLeadershipError; None: unfenced."""
        self._engine = engine
        self._fence = fence
        # SQLite lets one writer in at a time, and has others try again by the clock: threads of
        # this process wait for each other instead. PostgreSQL locks rows and not the whole store.
        self._turns = threading.Lock() if engine.dialect.name == "sqlite" else None

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Give a connection in a transaction.

        Raises LostLeadershipError, or NotWrittenError where no turn comes, before it writes.
        """
        fence = None if self._fence is None else self._fence()
        with self._turn(), self._engine.begin() as connection:
            if fence is not None:
                check_fence(connection, fence)
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._turns is None:
            yield
            return
        if not self._turns.acquire(timeout=_TURN_S):
            raise NotWrittenError(f"no turn came in {_TURN_S:g} s")
        try:
            yield
        finally:
            self._turns.release()

    def check(self) -> int:
        """Return the fence of this process, 0 where none is asked for.

        Raises LostLeadershipError if the lease is another's.
        """
        if self._fence is None:
            return 0
        fence = self._fence()
        with self._engine.connect() as connection:
            check_fence(connection, fence)
        return fence


def _held(fence: int) -> Update:
    return update(leases).where(leases.c.name == _LEADER, leases.c.fence == fence)
