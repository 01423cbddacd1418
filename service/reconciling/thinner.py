"""Thins out the history of jobs that are over, a little at a time, for the leader alone."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from service.store.store import Store
from service.store.thinning import START, EndedJob, Position, ended_jobs, thin, with_more_points

# A store of 100,000 short jobs is gone through in a quarter of an hour. One statement looks at all
# of these jobs: one for each of them had a tenth of the interpreter beside requests (measured).
PAUSE_S = 1.0
JOBS_AT_ONCE = 100


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
        bounds = {job: self._bound(job, now) for job in jobs}
        # Of a job with several attempts somewhat more are left than were asked for.
        long = {
            job_id
            for bound in set(bounds.values())
            for job_id in self._with_more(
                [j.id for j in jobs if bounds[j] == bound], bound + bound // 10
            )
        }
        for job, bound in bounds.items():
            self._seen_through = job.seq
            if job.id in long:
                self._job, self._position = (job, bound), START
                return
        if len(jobs) < JOBS_AT_ONCE:
            self._seen_through = 0
            self._were_thin, self._thin = self._thin, {}

    def _bound(self, job: EndedJob, now: datetime) -> int:
        is_old = now - job.finished_at >= self._full_for
        return min(self._old_points, self._max_points) if is_old else self._max_points

    def _with_more(self, job_ids: list[str], than: int) -> set[str]:
        """Return which jobs have more points; of the others it is remembered."""
        known = {one: self._thin.get(one, self._were_thin.get(one)) for one in job_ids}
        unknown = [job_id for job_id, most in known.items() if most is None or most > than]
        more: set[str] = set()
        if unknown:
            more = self._store.read(lambda connection: with_more_points(connection, unknown, than))
        for job_id, most in known.items():
            if job_id not in more:
                self._thin[job_id] = than if most is None else min(most, than)
        return more

    def _go_on(self, job: EndedJob, at_most: int) -> None:
        following = self._store.write(
            lambda connection: thin(connection, job.id, at_most=at_most, position=self._position)
        )
        if following is None:
            self._job = None
        else:
            self._position = following
