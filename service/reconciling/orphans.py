"""Ends what lives in Ray of this store's jobs and is not their current attempt.

Ray may start a submission long after it was asked to, when whoever asked has heard nothing and has
gone on to another attempt. Such a driver finds out by itself that it is stale; until then it would
hold devices.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

from service.reconciling.troubles import Troubles
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.store.store import Store
from trainer.contract.status import ACTIVE

logger = logging.getLogger(__name__)


class Ray(Protocol):
    """What is asked of a cluster."""

    def live_submissions(self) -> list[str]:
        """Return what waits to start or lives."""

    def stop(self, submission_id: str) -> None:
        """Ask a driver to go."""


def end_orphans(store: Store, ray: Ray, troubles: Troubles) -> None:
    """Stop every orphan; what is not known to this store is another's and left alone."""
    for orphan in orphans(store, ray.live_submissions()):
        if troubles.is_news(orphan, "is no current attempt"):
            logger.warning("%s lives in Ray and is no current attempt: it is stopped", orphan)
        # Whoever has another fence by now knows better.
        store.check_fence()
        ray.stop(orphan)


def orphans(store: Store, submissions: Sequence[str]) -> Iterator[str]:
    """Yield those that are attempts of jobs of this store, and not their current ones.

    An attempt is in the store before it is in Ray, so that one which lives there and is not in the
    store is none that has just begun.
    """
    for submission in submissions:
        job_id, _, number = submission.rpartition("-")
        try:
            job = store.job(job_id)
        except (JobNotFoundError, UnreadableJobError):
            continue
        if number.isdecimal() and (job.status not in ACTIVE or job.attempt != int(number)):
            yield submission
