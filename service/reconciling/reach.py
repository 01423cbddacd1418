"""Ray for the length of one tick: who left one question unanswered is asked no other."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from service.cluster.ray_jobs import RayJob, RayUnreachableError, SilentRayError
from service.cluster.submission import LeftGroup, Origin, Submission
from service.scheduling.room import Cluster

Answer = TypeVar("Answer")


class Ray(Protocol):
    """What the reconciler asks of a cluster (`ray_jobs.RayJobs`)."""

    def submit(self, submission_id: str, command: list[str], origin: Origin | None) -> None:
        """Start a driver, unless it exists already."""

    def job(self, submission_id: str) -> RayJob:
        """Say how a submission stands."""

    def log(self, submission_id: str) -> str:
        """Return what a driver printed outside of its attempt's log."""

    def stop(self, submission_id: str) -> None:
        """Ask a driver to go."""

    def live_submissions(self) -> list[Submission]:
        """Return the submissions that wait to start or live, whoever made them."""

    def cluster(self) -> Cluster:
        """Return the nodes that live, and what is held of them."""

    def left_groups(self) -> list[LeftGroup]:
        """Return the placement groups of submissions that have ended."""

    def forget(self, submission_id: str) -> None:
        """Have Ray forget a driver that has ended."""


class Reach:
    """A Ray that is away for the rest of a tick once it was waited for in vain.

    Each question to one that accepts and does not answer takes until its timeout, and every job
    has one. Where it takes no submission, as for want of an agent, it may still tell of the others.
    Whatever is asked of it raises RayUnreachableError.
    """

    def __init__(self, ray: Ray) -> None:
        self._ray = ray
        self._silence: SilentRayError | None = None
        self._refusal: RayUnreachableError | None = None

    def submit(self, submission_id: str, command: list[str], origin: Origin | None) -> None:
        """Start a driver, unless it exists already."""
        if (known := self._silence or self._refusal) is not None:
            raise known
        try:
            self._ray.submit(submission_id, command, origin)
        except SilentRayError as error:
            self._refusal = error
            raise

    def job(self, submission_id: str) -> RayJob:
        """Say how a submission stands."""
        return self._ask(lambda: self._ray.job(submission_id))

    def log(self, submission_id: str) -> str:
        """Return what a driver printed outside of its attempt's log."""
        return self._ask(lambda: self._ray.log(submission_id))

    def stop(self, submission_id: str) -> None:
        """Ask a driver to go."""
        self._ask(lambda: self._ray.stop(submission_id))

    def live_submissions(self) -> list[Submission]:
        """Return the submissions that wait to start or live, whoever made them."""
        return self._ask(self._ray.live_submissions)

    def cluster(self) -> Cluster:
        """Return the nodes that live, and what is held of them."""
        return self._ask(self._ray.cluster)

    def left_groups(self) -> list[LeftGroup]:
        """Return the placement groups of submissions that have ended."""
        return self._ask(self._ray.left_groups)

    def forget(self, submission_id: str) -> None:
        """Have Ray forget a driver that has ended."""
        self._ask(lambda: self._ray.forget(submission_id))

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        if self._silence is not None:
            raise self._silence
        try:
            return question()
        except SilentRayError as error:
            self._silence = error
            raise
