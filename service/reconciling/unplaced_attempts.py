"""Attempts that Ray has yet to place: which of them go back to the queue, so that it goes on.

Those do for which others have left no room, and those that stall: they have asked for their devices
and are given none though, by all that Ray's API tells, there is room. It does not tell which nodes
are being drained. One that has asked for nothing yet may be slow to begin, and is waited for.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from service.jobs.lifecycle import backoff
from service.jobs.records import JobRecord
from service.scheduling.room import Cluster
from service.store.attempts import note_verdict
from service.store.running import num_alike, submission_times
from service.store.store import Store
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.spec import RetrySpec
from trainer.contract.status import Status

# Assumed: by then Ray has placed whatever it has room for, as far as its driver has asked for it.
UNPLACED_S = 60.0
_UNPLACED = timedelta(seconds=UNPLACED_S)
_TRYING = frozenset({Status.QUEUED, Status.STARTING, Status.RETRYING})
# Assumed: each try keeps what it needs from others for a minute or two.
_TRIES = RetrySpec(backoff_s=60.0, max_backoff_s=900.0)

_WITHOUT_ROOM = (
    f"was given no devices in {UNPLACED_S:.0f} s, as others hold them or a node is gone, so it "
    "went back to the queue; this counts as no failure"
)
_STALLED = (
    f"has asked Ray for its devices for {UNPLACED_S:.0f} s in vain, though there seems to be room, "
    "as where a node is being drained, so it went back to the queue, which goes on without it for "
    "{wait_s:,.0f} s; this counts as no failure; Ray's dashboard may tell more"
)


class UnplacedAttempts:
    """Remembers since when each has asked Ray in vain, and until when who stalled waits for others.

    A process that takes over tries each once more; how often that was in vain is in the store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked_since: dict[str, datetime] = {}
        self._wait_until: dict[str, datetime] = {}

    def late(self, jobs: Collection[JobRecord], now: datetime) -> frozenset[str]:
        """Return the jobs whose attempts Ray has had for long, or has not taken for as long.

        `jobs`: all that live; of others nothing is remembered.
        """
        self._forget_others(jobs)
        starting = [
            job
            for job in jobs
            if job.status is Status.STARTING and now - job.status_since >= _UNPLACED
        ]
        if not starting:
            return frozenset()
        submitted = self._store.read(submission_times)
        since = {job.id: submitted.get(job.id) or job.status_since for job in starting}
        return frozenset(job_id for job_id, at in since.items() if now - at >= _UNPLACED)

    def lets_others_go_first(self, job: JobRecord, now: datetime) -> bool:
        """Whether its attempt stalled not long ago."""
        until = self._wait_until.get(job.id)
        return until is not None and now < until

    def send_back(
        self,
        jobs: Collection[JobRecord],
        cluster: Cluster,
        *,
        late: Collection[str],
        without_room: Collection[str],
        now: datetime,
    ) -> None:
        """Have those stopped that are not to be waited for; they count against no job."""
        for job in jobs:
            if job.status is not Status.STARTING:
                continue
            name = _submission_of(job)
            if job.id in without_room:
                self._asked_since.pop(name, None)
                if job.id in late:
                    self._stop(job, _WITHOUT_ROOM)
            elif name in cluster.waiting:
                # Train withdraws its request each minute, and makes another: that ends no wait.
                since = self._asked_since.setdefault(name, now)
                if now - since >= _UNPLACED:
                    self._end_stalled(job, now)

    def _end_stalled(self, job: JobRecord, now: datetime) -> None:
        # Those that others left no room for are tries in vain, too.
        num_before = self._store.read(
            lambda connection: num_alike(connection, job.id, job.attempt, Reason.INTERRUPTED)
        )
        wait = backoff(_TRIES, num_before + 1)
        if self._stop(job, _STALLED.format(wait_s=wait.total_seconds())):
            self._wait_until[job.id] = now + wait
            del self._asked_since[_submission_of(job)]

    def _stop(self, job: JobRecord, why: str) -> bool:
        message = f"attempt {job.attempt} {why}"
        verdict = Outcome(outcome="failed", reason=Reason.INTERRUPTED, message=message)
        # Ray may have placed it since the cluster was looked at.
        return self._store.write(
            lambda connection: note_verdict(
                connection, job.id, job.attempt, verdict, if_unheard=True
            )
        )

    def _forget_others(self, jobs: Collection[JobRecord]) -> None:
        """Forget who has begun, and who waits no more."""
        names = {_submission_of(job) for job in jobs if job.status is Status.STARTING}
        trying = {job.id for job in jobs if job.status in _TRYING}
        self._asked_since = {name: at for name, at in self._asked_since.items() if name in names}
        self._wait_until = {one: at for one, at in self._wait_until.items() if one in trying}


def _submission_of(job: JobRecord) -> str:
    return f"{job.id}-{job.attempt}"
