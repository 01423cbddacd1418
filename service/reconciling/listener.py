"""Hears whether attempts live: by what grows in their folders and in the store."""

from dataclasses import dataclass
from datetime import timedelta

from service.jobs.records import AttemptRecord, JobRecord
from service.jobs.silence import Patience, overdue
from trainer.contract.attempt import Outcome
from trainer.contract.run_directory import AttemptDirectory

# What has changed whenever an attempt gave a sign of life: events that are stored, and the size
# and time of its spool, so that an attempt lives that cannot reach the service.
_Sign = tuple[int, int, int]
_NONE: _Sign = (0, 0, 0)


@dataclass(frozen=True)
class _Heard:
    sign: _Sign
    at_s: float


class Listener:
    """Remembers since when each attempt has been silent.

    By a clock of this process that nobody sets. Whoever takes over begins to listen anew: for as
    long as it was away it heard nobody.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._heard: dict[str, _Heard] = {}

    def listen(
        self, job: JobRecord, attempt: AttemptRecord, directory: AttemptDirectory, now_s: float
    ) -> Outcome | None:
        """Return what a silence of too long comes to; None: the attempt lives.

        Raises OSError where the folder cannot be used.
        """
        try:
            spool = directory.events.stat()
            sign = (attempt.events_through, spool.st_size, spool.st_mtime_ns)
        except FileNotFoundError:
            sign = (attempt.events_through, 0, 0)
        heard = self._heard.get(attempt.submission_id)
        if heard is None or heard.sign != sign:
            heard = self._heard[attempt.submission_id] = _Heard(sign, now_s)
        return overdue(
            job,
            attempt,
            has_begun=sign != _NONE,
            silent_for=timedelta(seconds=now_s - heard.at_s),
            patience=self._patience,
        )

    def has_heard(self, attempt: AttemptRecord, *, since_s: float) -> bool:
        """Say whether it gave a sign of life since then, or is listened to only since then."""
        heard = self._heard.get(attempt.submission_id)
        return heard is not None and heard.at_s >= since_s

    def forget(self, attempt: AttemptRecord) -> None:
        """Listen to it no longer."""
        self._heard.pop(attempt.submission_id, None)
