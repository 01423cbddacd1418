"""Who may write: one control plane a store, told by the lease in it."""

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from service.reconciling.holder import is_gone, new_holder, pid_of
from service.reconciling.lease import RENEWALS_PER_DURATION, Leading, Waiting
from service.steady_clock import PROCESS_CLOCK, SteadyClock, since_boot_s
from service.store.engine import connect, writing
from service.store.leases import (
    LeaseRecord,
    LostLeadershipError,
    read_lease,
    release_lease,
    renew_lease,
    take_lease,
)

logger = logging.getLogger(__name__)

_NOBODY = "none is known at the moment"


class Leadership:
    """Takes the lease of one store, and keeps it in a thread of its own until it is released.

    `try_to_take` and `release` are for one thread; all else is for any.
    """

    def __init__(
        self,
        store_url: str,
        *,
        url: str,
        lease_s: float,
        clock: Callable[[], float] = since_boot_s,
        told_by: SteadyClock = PROCESS_CLOCK,
        hindrance: Callable[[], str | None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`url`: where this process is reached, for whoever finds it leading.

        `clock`: leases go by it; `told_by`: what this process calls now, and hands on with them.
        `hindrance`: why this process cannot do a leader's work; while there is such a reason the
        lease is not renewed, and whoever stands by takes it once it has run out; that is noticed.
        `on_lost`: called by the keeper's thread once another has taken the lease, before this
        process may take it again.
        """
        self._url = url
        self._lease_s = lease_s
        self._clock = clock
        self._told_by = told_by
        self._hindrance = hindrance
        self._on_lost = on_lost
        self._holder = new_holder()
        # Of its own, so that a renewal waits for no connection; nor, for long, for a lock.
        timeout_ms = int(lease_s * 1000 * 2 / RENEWALS_PER_DURATION)
        self._engine = connect(store_url, busy_timeout_ms=timeout_ms)
        self._writing = writing(self._engine)
        # Only `try_to_take` and `release` end waiting; only the keeper and `release` end leading.
        self._state: Waiting | Leading = Waiting()
        self._ending = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def is_held(self) -> bool:
        """Whether nobody else can lead, by this process's own clock."""
        state = self._state
        return isinstance(state, Leading) and state.holds(self._clock())

    @property
    def is_kept(self) -> bool:
        """Whether the lease was taken and nobody is known to have taken it since."""
        return isinstance(self._state, Leading)

    def fence(self) -> int:
        """Return the fence that writes go by. Raises LostLeadershipError without the lease."""
        state = self._state
        if isinstance(state, Waiting):
            raise LostLeadershipError(self.holder())
        return state.fence

    def holder(self) -> str:
        """Name the leader as it was last seen, for people."""
        state = self._state
        if isinstance(state, Leading):
            is_held = state.holds(self._clock())
            return f"{self._url} (process {pid_of(self._holder)})" if is_held else _NOBODY
        if state.seen is None or state.seen.released:
            return _NOBODY
        return f"{state.seen.url} (process {pid_of(state.seen.holder)})"

    def try_to_take(self) -> bool:
        """Take the lease if it is free; say whether it is held. Raises SQLAlchemyError."""
        state = self._state
        if isinstance(state, Leading):
            return self.is_held
        with self._engine.connect() as connection:
            record = read_lease(connection)
        self._state = state = state.look(record, self._clock())
        asked_s = self._clock()
        if not state.is_free(asked_s) and (record is None or not is_gone(record.holder)):
            return False
        if record is not None and record.clock is not None:
            self._told_by.go_on(record.clock, state.watched_s(asked_s))
        with self._writing.begin() as connection:
            fence = take_lease(
                connection,
                record,
                holder=self._holder,
                url=self._url,
                duration_s=self._lease_s,
                clock=self._told_by.read(),
            )
        if fence is None:
            return False
        self._state = Leading(fence=fence, duration_s=self._lease_s, renewed_s=asked_s)
        self._ending.clear()
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._keeper.start()
        return self.is_held

    def release(self) -> None:
        """Let the next one lead at once; without the store it waits until the lease runs out."""
        self._ending.set()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        state, self._state = self._state, Waiting()
        if isinstance(state, Leading):
            try:
                with self._writing.begin() as connection:
                    release_lease(connection, state.fence, self._told_by.read())
            except SQLAlchemyError as error:
                logger.warning("the lease could not be released, and runs out: %s", error)

    def close(self) -> None:
        """Release the lease, and close every connection."""
        self.release()
        self._engine.dispose()

    def _keep(self) -> None:
        is_hindered = False
        while self.is_kept and not self._ending.wait(self._lease_s / RENEWALS_PER_DURATION):
            was_held = self.is_held
            was_hindered, why = is_hindered, self._hindrance()
            is_hindered = why is not None
            if is_hindered and not was_hindered:
                logger.error("the lease is left to others: %s", why)
            try:
                if is_hindered:
                    self._look()
                else:
                    self._renew()
            except SQLAlchemyError as error:
                # The store may be away for a while; whoever then is first, leads.
                if was_held:
                    logger.warning("the lease could not be renewed: %s", error)
            except Exception:
                # A keeper that died would have this process neither lead nor wait for ever.
                logger.exception("the lease could not be renewed; it is tried again")

    def _renew(self) -> None:
        state = self._state
        assert isinstance(state, Leading)
        asked_s = self._clock()
        with self._writing.begin() as connection:
            is_ours = renew_lease(connection, state.fence, self._told_by.read())
            record = None if is_ours else read_lease(connection)
        if is_ours:
            self._state = state.renew(asked_s)
        else:
            self._give_way(record)

    def _look(self) -> None:
        """Notice whether the lease was taken over, without renewing it."""
        state = self._state
        assert isinstance(state, Leading)
        with self._engine.connect() as connection:
            record = read_lease(connection)
        if record is None or record.fence != state.fence:
            self._give_way(record)

    def _give_way(self, record: LeaseRecord | None) -> None:
        try:
            # Before it might lead anew, as what is given up now is claimed then.
            self._on_lost()
        except Exception:
            # One that went on as the leader would stand by for ever.
            logger.exception("what only the leader may have could not be given up")
        self._state = Waiting().look(record, self._clock())
        logger.warning("the lease was taken over by %s", self.holder())
