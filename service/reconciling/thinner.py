"""Thins out the history of jobs that are over, a little at a time, for the leader alone."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from service.store.store import Store
from service.store.thinning import START, EndedJob, Position, ended_jobs, has_more_points, thin

# Assumed: a store of 100,000 short jobs is gone through in minutes, at next to no load.
PAUSE_S = 1.0
JOBS_AT_ONCE = 200
# Whether a job has many points takes milliseconds, and nothing else is reconciled meanwhile.
LOOKS_FOR_S = 0.02


class Thinner:
    """Goes through the jobs that are over, again and again; whatever ends it, it begins anew."""

    def __init__(
        self,
        store: Store,
        *,
        max_points: int,
        full_for: timedelta,
        old_points: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep about `max_points` of a job that is over, `old_points` once it is so long over."""
        self._store = store
        self._max_points = max_points
        self._full_for = full_for
        self._old_points = old_points
        self._clock = clock
        self._next_at = clock()
        self._seen_through = 0
        """Every job up to this one has been looked at in this round."""
        self._thin: dict[str, int] = {}
        """Jobs of this round with no more points than so many, and so for good: they are over."""
        self._were_thin: dict[str, int] = {}
        """Those of the round before; whoever is deleted is forgotten with it."""
        self._job: tuple[EndedJob, int] | None = None
        """What is being thinned out, and to how many points."""
        self._position: Position = START

    def tick(self, now: datetime) -> None:
        """Do the next little, if it is time for that: at most one short transaction that writes."""
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + PAUSE_S
        if self._job is None:
            self._find(now)
        if self._job is not None:
            self._go_on(*self._job)

    def _find(self, now: datetime) -> None:
        jobs = self._store.read(
            lambda connection: ended_jobs(
                connection, after_seq=self._seen_through, limit=JOBS_AT_ONCE
            )
        )
        until = self._clock() + LOOKS_FOR_S
        for job in jobs:
            self._seen_through = job.seq
            is_old = now - job.finished_at >= self._full_for
            at_most = min(self._old_points, self._max_points) if is_old else self._max_points
            # Of a job with several attempts somewhat more are left than were asked for.
            if self._has_more(job.id, at_most + at_most // 10):
                self._job, self._position = (job, at_most), START
                return
            if self._clock() >= until:
                return
        if len(jobs) < JOBS_AT_ONCE:
            self._seen_through = 0
            self._were_thin, self._thin = self._thin, {}

    def _has_more(self, job_id: str, than: int) -> bool:
        known = self._were_thin.get(job_id)
        if known is None or known > than:
            if self._store.read(lambda connection: has_more_points(connection, job_id, than)):
                return True
            known = than
        self._thin[job_id] = known
        return False

    def _go_on(self, job: EndedJob, at_most: int) -> None:
        following = self._store.write(
            lambda connection: thin(connection, job.id, at_most=at_most, position=self._position)
        )
        if following is None:
            self._job = None
        else:
            self._position = following
