"""Ends what lives in Ray of this store's jobs and is not their current attempt.

Ray may start a submission long after it was asked to, when whoever asked has heard nothing and has
gone on to another attempt, or the job was deleted meanwhile. Such a driver finds out by itself that
it is stale; until then it would hold devices.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from service.cluster.submission import Submission
from service.reconciling.troubles import Troubles
from service.store.audit import was_deleted
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.store.store import Store
from trainer.contract.status import ACTIVE

logger = logging.getLogger(__name__)


class Ray(Protocol):
    """What is asked of a cluster."""

    def live_submissions(self) -> list[Submission]:
        """Return what waits to start or lives."""

    def stop(self, submission_id: str) -> None:
        """Ask a driver to go."""


def end_orphans(store: Store, ray: Ray, troubles: Troubles) -> None:
    """Stop every orphan; what is of no job of this store is another's and left alone."""
    for orphan in orphans(store, ray.live_submissions()):
        if troubles.is_news(orphan, "is no current attempt"):
            logger.warning("%s lives in Ray and is no current attempt: it is stopped", orphan)
        # Whoever has another fence by now knows better.
        store.check_fence()
        ray.stop(orphan)


def orphans(store: Store, submissions: Sequence[Submission]) -> Iterator[str]:
    """Yield those that are attempts of jobs of this store, and not their current ones.

    An attempt is in the store before it is in Ray, so that one which lives there and is not in the
    store is none that has just begun. A job that is unknown was deleted only if the store says so.
    """
    for submission in submissions:
        origin = submission.origin_in(store.id)
        if origin.store_id != store.id:
            continue
        try:
            job = store.job(origin.job_id)
        except JobNotFoundError:
            # What a copy of this store began has the same origin, and may be of a job unknown here.
            is_told = submission.origin is not None
            if is_told and store.read(partial(was_deleted, job_id=origin.job_id)):
                yield submission.id
        except UnreadableJobError:
            continue
        else:
            if job.status not in ACTIVE or submission.id != f"{job.id}-{job.attempt}":
                yield submission.id
