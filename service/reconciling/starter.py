"""The jobs that wait: who of them may start, and how an attempt begins."""

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from service.jobs.lifecycle import backoff
from service.jobs.records import JobRecord
from service.reconciling.attempt_files import resume_point, unusable
from service.reconciling.troubles import Troubles
from service.reconciling.unplaced_attempts import UnplacedAttempts
from service.scheduling.admission import admit
from service.scheduling.placement import Demand, accelerator_of, has_gpus
from service.scheduling.queue import QueuePolicy, in_order
from service.scheduling.room import Cluster
from service.scheduling.waiting import (
    DRAINS,
    active_job,
    may_start,
    waiting_job,
    why_it_waits,
)
from service.store.attempts import NewAttempt
from service.store.errors import ChangedMeanwhileError
from service.store.leases import LostLeadershipError
from service.store.queueing import make_room, note_waits
from service.store.quotas import active_limits
from service.store.store import Store
from service.store.switches import pause_for_drain, read_drain
from trainer.contract.attempt import AttemptOrder
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import RetrySpec
from trainer.contract.status import ACTIVE, Status

logger = logging.getLogger(__name__)

OUTAGE = "waits for Ray to answer; /readyz says how it stands"

# Assumed: soon enough for a disk that is back, and seldom enough for one that stays away.
_TRIES = RetrySpec(backoff_s=1.0, max_backoff_s=30.0)


# Assumed: far longer than attempts take to begin where nothing is amiss.
_GOOD_FOR = timedelta(seconds=5)


@dataclass(frozen=True, kw_only=True)
class _Obstacle:
    """Why a job could not begin, and until when it is not tried again."""

    num_tries: int
    until: datetime


class Starter:
    """Admits waiting jobs and begins their attempts. A failure to begin counts against no job."""

    def __init__(
        self,
        store: Store,
        *,
        run_root: Path,
        data_roots: tuple[str, ...],
        control_plane_url: str,
        policy: QueuePolicy,
        troubles: Troubles,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._run_root = run_root
        self._data_roots = data_roots
        self._url = control_plane_url
        self._policy = policy
        self._troubles = troubles
        self._clock = clock
        self._obstacles: dict[str, _Obstacle] = {}
        self._unplaced = UnplacedAttempts(store)

    def begin(self, cluster: Callable[[], Cluster]) -> Iterator[JobRecord]:
        """Begin the attempts that are due and fit; give each job as it then stands.

        Who is to make room for another is asked to pause; who has got no devices and is not waited
        for, is stopped, while the service drains, too. The cluster is looked at only where somebody
        waits. What was decided is left undone once it is old, or the service drains.
        """
        now = decided_at = self._clock()
        is_draining = self._is_draining()
        live = {job.id: job for job in self._store.live_jobs()}
        due = [
            job
            for job in live.values()
            if not is_draining and may_start(job, now) and not self._is_held_up(job, now)
        ]
        late = self._unplaced.late(live.values(), now)
        if not due and not late:
            return
        present = cluster()
        given = self._store.accelerators_in_use()
        gpus = has_gpus(present.nodes)
        waiting = [waiting_job(job, accelerator_of(job.spec, gpus=gpus)) for job in due]
        active = [
            active_job(job, given.get(job.id) or accelerator_of(job.spec, gpus=gpus), now)
            for job in live.values()
            if job.status in ACTIVE
        ]
        admission = admit(
            present,
            active,
            in_order(waiting, self._policy),
            self._policy,
            limits=self._store.read(lambda connection: active_limits(connection, now)),
            now=now.timestamp(),
        )
        self._note((live[job_id], why) for job_id, why in admission.waiting.items())
        for job_id, for_job in admission.preempted.items():
            self._make_room(live[job_id], for_job)
        self._unplaced.send_back(
            live.values(), present, late=late, without_room=admission.without_room, now=now
        )
        demands = {job.id: job.demand for job in waiting}
        for job_id in admission.admitted:
            # Whoever is given a job may be long about it, and much is asked for meanwhile.
            now = self._clock()
            if now - decided_at > _GOOD_FOR or self._is_draining():
                return
            begun = self._try_to_begin(live[job_id], demands[job_id], now)
            if begun is not None:
                yield begun

    def _make_room(self, job: JobRecord, for_job: str) -> None:
        if self._store.write(lambda connection: make_room(connection, job, for_job)):
            logger.info("job %s is to pause, to make room for job %s", job.id, for_job)

    def _is_draining(self) -> bool:
        """Whether nothing may begin; tells whoever waits."""
        if self._store.read(read_drain) is None:
            return False
        self._note_queued(DRAINS)
        return True

    def pause_for_drain(self) -> None:
        """Have what runs pause where the service drains so; Ray need not answer for that."""
        drain = self._store.read(read_drain)
        if drain is not None and drain.pause:
            self._store.write(pause_for_drain)

    def note_outage(self) -> None:
        """Tell every queued job that Ray does not answer."""
        self._note_queued(OUTAGE)

    def _note_queued(self, why: str) -> None:
        self._note((job, why) for job in self._store.live_jobs() if job.status is Status.QUEUED)

    def _note(self, reasons: Iterable[tuple[JobRecord, str]]) -> None:
        """Say why jobs wait, where that has changed; one that retries says why it failed."""
        changed = {
            job.id: message
            for job, why in reasons
            if (job.status is Status.QUEUED or job.id in self._obstacles)
            and (message := why_it_waits(job, why)) != job.message
        }
        if changed:
            self._store.write(lambda connection: note_waits(connection, changed))

    def _is_held_up(self, job: JobRecord, now: datetime) -> bool:
        obstacle = self._obstacles.get(job.id)
        is_obstructed = obstacle is not None and now < obstacle.until
        return is_obstructed or self._unplaced.lets_others_go_first(job, now)

    def _try_to_begin(self, job: JobRecord, demand: Demand, now: datetime) -> JobRecord | None:
        try:
            begun = self._begin(job, demand, now)
        except ChangedMeanwhileError:
            return None
        except LostLeadershipError:
            raise
        except OSError as error:
            trouble = unusable(self._run_root / job.id, error)
            if self._troubles.is_news(_beginning(job), trouble):
                logger.warning("job %s could not be started: %s", job.id, trouble)
        except Exception as error:
            # As in the reconciler: the others are not to wait for this one.
            trouble = f"its attempt cannot begin ({type(error).__name__}); the log says more"
            if self._troubles.is_news(_beginning(job), trouble):
                logger.exception("job %s could not be started", job.id)
        else:
            self._obstacles.pop(job.id, None)
            self._troubles.is_news(_beginning(job), None)
            logger.info("job %s: %s to %s, %s", job.id, job.status, begun.status, begun.message)
            return begun
        self._hold_up(job, trouble, now)
        return None

    def _hold_up(self, job: JobRecord, trouble: str, now: datetime) -> None:
        """Let the job wait a while without being admitted, so that nothing is kept free for it."""
        before = self._obstacles.get(job.id)
        num_tries = 1 if before is None else before.num_tries + 1
        until = now + backoff(_TRIES, num_tries)
        self._obstacles[job.id] = _Obstacle(num_tries=num_tries, until=until)
        self._note([(job, trouble)])

    def _begin(self, job: JobRecord, demand: Demand, now: datetime) -> JobRecord:
        """Write the order, then the row: an attempt that the store knows has its folder.

        Raises OSError where the run directory cannot be used.
        """
        fence = self._store.check_fence()
        run = RunDirectory(self._run_root / job.id)
        if job.attempt == 0:
            # Without its parents: a run root that is not there is one whose disk is away.
            run.path.mkdir(exist_ok=True)
        else:
            # Where it is gone, so are its checkpoints: they are waited for, not trained anew.
            run.path.stat()
        # A folder beyond what the store knows is of a store that was lost, or of a beginning that
        # was cut short.
        number = max(job.attempt, run.newest_attempt()) + 1
        point = resume_point(run, self._store.attempt_numbers(job.id))
        token = secrets.token_urlsafe(32)
        order = AttemptOrder(
            job_id=job.id,
            attempt=number,
            spec=job.spec,
            accelerator="gpu" if demand.gpus_per_replica else "cpu",
            resume_from=point.checkpoint,
            data_roots=self._data_roots,
            control_plane_url=self._url,
            token=token,
            fence=fence,
        )
        directory = run.attempt(number)
        try:
            write_order(directory, order)
        except FileExistsError:
            # Another leader was faster: the folder is its own.
            raise
        except OSError:
            # The empty folder would use up the number.
            with suppress(OSError):
                directory.path.rmdir()
            raise
        new = NewAttempt(
            number=number,
            accelerator=order.accelerator,
            resume_from=point.checkpoint,
            damaged=point.damaged,
            token_sha256=sha256_of_token(token),
            fence=fence,
            num_cpus=demand.num_replicas * demand.cpus_per_replica,
            num_gpus=demand.num_replicas * demand.gpus_per_replica,
        )
        try:
            return self._store.begin_attempt(job, new, now)
        except (ChangedMeanwhileError, LostLeadershipError):
            # The store refused it for good. After any other error it may have it, and its order
            # stays: one that nobody knows only leaves a number out.
            _take_back(directory)
            raise


def _take_back(directory: AttemptDirectory) -> None:
    """Remove an order that never was one: an attempt that still runs would go by it, and end."""
    with suppress(OSError):
        directory.order.unlink()
        directory.path.rmdir()


def sha256_of_token(token: str) -> str:
    """Digest under which the store keeps an attempt's token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _beginning(job: JobRecord) -> str:
    return f"{job.id} begins"
