"""The control plane's own thread: wait for leadership, then keep Ray and reconcile."""

import logging
import math
import os
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from service.cluster.local_ray import STARTING, LocalRay, LocalRayError
from service.cluster.ray_jobs import RayJobs, RayUnreachableError
from service.delivering.deliverer import Deliverer
from service.jobs.silence import Patience
from service.reconciling.activity import Activity
from service.reconciling.deletion import Deletions
from service.reconciling.finisher import Finisher
from service.reconciling.interruption import note_interruption
from service.reconciling.leadership import Leadership
from service.reconciling.pace import TICK_S, Pace
from service.reconciling.reconciler import Reconciler
from service.reconciling.thinner import Thinner
from service.scheduling.room import Cluster
from service.settings import Settings, SettingsError
from service.steady_clock import now_utc
from service.store.leases import LostLeadershipError, has_leases
from service.store.store import Store
from service.submission.keys_in_work import KeysInWork

logger = logging.getLogger(__name__)

# Plans tell of the cluster as it was so long ago at most.
NODES_EVERY_S = 10.0
LEASE_POLL_S = 1.0
# Assumed: a tick that takes longer to come to its next job than most do may not end at all.
STOP_PATIENCE_S = 15.0
_NOT_REACHED = "not reached yet"
_NO_ANSWER = "does not answer as it should; `alexnet cluster` tells an admin more"


@dataclass(frozen=True, kw_only=True)
class Health:
    """How this process stands, for /readyz."""

    is_leader: bool
    leader: str
    ray: str
    """For people, whoever they are: ready, or what is wrong."""
    ray_trouble: str | None
    """The same for admins: what was answered, and by what; None: Ray is ready."""
    ray_address: str | None
    """For admins: what runs there, runs any code it is sent."""
    is_stuck: bool
    """Whether its reconciler does not get on: then no job does."""

    @property
    def is_ready(self) -> bool:
        """Whether jobs that are posted here will run."""
        return self.is_leader and self.ray_trouble is None and not self.is_stuck


class ControlPlane:
    """One process of the service. `start` it once, `stop` it once."""

    def __init__(self, settings: Settings, *, token: str | None) -> None:
        _make_folder("STATE_DIR", settings.state_dir, mode=0o700)
        if settings.store_path is not None:
            _make_folder("STORE_URL", settings.store_path.parent)
        _make_folder("RUN_ROOT", settings.run_root)
        self.settings = settings
        self._activity = Activity()
        self._local = LocalRay(
            settings.state_dir,
            url=settings.advertised_url,
            num_cpus=settings.local_ray_cpus,
            num_gpus=settings.local_ray_gpus,
            metrics_port=settings.local_ray_metrics_port,
            warm=settings.local_ray_warm,
        )
        self.leadership = Leadership(
            settings.store_url,
            url=settings.advertised_url,
            lease_s=settings.lease_s,
            hindrance=self._activity.trouble,
            # The reconciler's thread may hang, and whoever leads now needs it.
            on_lost=self._local.ownership.give_up,
        )
        # Whatever is written here, by the API too, is written by the leader.
        self.store = Store(settings.store_url, fence=self.leadership.fence)
        self.keys_in_work = KeysInWork()
        self._remote = (
            None if settings.ray_address is None else RayJobs(settings.ray_address, token=token)
        )
        self._thinner = Thinner(
            self.store,
            max_points=settings.max_points,
            full_for=timedelta(days=settings.full_history_days),
            old_points=settings.old_points,
        )
        self._deliverer = Deliverer(
            self.store, is_leader=lambda: self.is_leader, allowed=settings.webhook_allowed
        )
        self.deletions = Deletions(self.store, settings.run_root)
        self._finisher = Finisher(self.deletions, is_leader=lambda: self.is_leader)
        self._reconciler: Reconciler | None = None
        """Of this term; None: this process has not begun to lead, or is known to have lost that."""
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._pace = Pace()
        self._ray_trouble: str | None = _NOT_REACHED
        self._ray_address: str | None = settings.ray_address
        self._cluster: Cluster | None = None
        self._nodes_at = -math.inf
        # A disk that hangs keeps no process from ending.
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Become leader at once if the lease is free; go on in the background."""
        self.try_to_lead()
        self._thread.start()
        self._deliverer.start()
        self._finisher.start()

    def try_to_lead(self) -> None:
        """Become leader if the lease is free, with the store at this release's schema."""
        if not self.store.read(has_leases):
            # New, or of a release before there were leases.
            self.store.migrate()
        if not self.leadership.try_to_take() or self._reconciler is not None:
            return
        try:
            self.store.migrate()
        except BaseException:
            # One that cannot open the store must not keep out another that can.
            self.leadership.release()
            raise
        self._begin_term()
        logger.info("this process leads")

    def _begin_term(self) -> None:
        """Know nothing of what was seen in a term before: others have led since."""
        settings = self.settings
        self._local.ownership.claim()
        self._reconciler = Reconciler(
            self.store,
            run_root=settings.run_root,
            data_roots=settings.data_roots,
            control_plane_url=settings.advertised_url,
            python=settings.attempt_python,
            patience=Patience(
                start=timedelta(seconds=settings.start_timeout_s),
                silence=timedelta(seconds=settings.silence_timeout_s),
            ),
            policy=settings.queue_policy,
            is_stopping=self._stopping.is_set,
            activity=self._activity,
        )
        self._finisher.wake()

    def _end_term(self) -> None:
        logger.warning("this process leads no longer; the leader is %s", self.leadership.holder())
        self._reconciler = None
        self._local.leave()
        self._ray_trouble = _NOT_REACHED

    def begin_stop(self) -> None:
        """Let the loop and the open streams end; returns at once."""
        self._stopping.set()
        self._wake.set()
        self._deliverer.begin_stop()
        self._finisher.begin_stop()

    def stop(self) -> None:
        """End the loop, stop the local Ray if it is ours, and let the next one lead.

        A tick that does not end is left as by a crash: its jobs are seen to by the next leader,
        which charges none of them with the end of that Ray.
        """
        self.begin_stop()
        if self._thread.is_alive():
            self._thread.join(STOP_PATIENCE_S)
        hangs = self._thread.is_alive()
        if hangs:
            logger.error("the reconciler does not end; it is not waited for")
        self._deliverer.stop()
        self._finisher.stop()
        try:
            self._stop_ray(hangs=hangs)
        finally:
            # Who hangs at work with it keeps it until that or this process ends.
            self._local.ownership.give_up()
            if self._remote is not None:
                self._remote.close()
            self.store.close()
            self.leadership.close()

    def _stop_ray(self, *, hangs: bool) -> None:
        # Also while the store is away, and with it the lease: nobody else stops this Ray.
        term = self._reconciler if self.leadership.is_kept else None
        if term is None or self._remote is not None or not self._local.ownership.acquire():
            return
        if not hangs:
            try:
                self._local.stop()
            except LocalRayError:
                # Of its processes the attempts' may have ended, and the next leader asks why.
                note_interruption(self.store)
                raise
            term.interrupt()
        elif note_interruption(self.store):
            self._local.stop()

    def wake(self) -> None:
        """Reconcile now: something was asked, or told."""
        self._pace.note_news()
        self._wake.set()

    @property
    def is_leader(self) -> bool:
        """Whether this process may act: it has the lease, and the schema is this release's."""
        return self._reconciler is not None and self.leadership.is_held

    @property
    def is_stopping(self) -> bool:
        """Whether streams should end now."""
        return self._stopping.is_set()

    def health(self) -> Health:
        """Say how this process stands."""
        trouble = self._ray_trouble
        return Health(
            is_leader=self.is_leader,
            leader="this process" if self.is_leader else self.leadership.holder(),
            ray=_in_public(trouble) or "ready",
            ray_trouble=trouble,
            ray_address=self._ray_address,
            is_stuck=self._activity.trouble() is not None,
        )

    def step_age_s(self) -> float:
        """Return for how long the reconciler has been at one job; 0: it waits for the next tick."""
        return self._activity.age_s()

    def cluster(self) -> Cluster | str:
        """Return the nodes and what is held of them as last seen, or why that is not known."""
        seen, trouble = self._cluster, self._ray_trouble
        if trouble is not None or seen is None:
            return f"Ray: {_in_public(trouble) or 'its nodes are not known yet'}"
        return seen

    def _look_at_nodes(self, ray: RayJobs) -> None:
        """Read the nodes now and then, so that no request waits for Ray."""
        if time.monotonic() - self._nodes_at < NODES_EVERY_S:
            return
        self._nodes_at = time.monotonic()
        try:
            self._cluster = ray.cluster()
        except RayUnreachableError:
            # What needs them asks by itself, and tells of it.
            self._cluster = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            reconciler = self._reconciler
            try:
                if reconciler is None or not self.is_leader:
                    self._stand_by()
                else:
                    self._tick(reconciler)
            except Exception:
                # A loop that died would leave jobs as they are for ever, and nobody told.
                logger.exception("the reconciler failed; it goes on")
            self._activity.rest()
            self._wake.wait(self._pause_s())
            self._wake.clear()

    def _pause_s(self) -> float:
        if not self.is_leader:
            return LEASE_POLL_S
        return TICK_S if self._ray_trouble else self._pace.pause_s()

    def _stand_by(self) -> None:
        """Lead as soon as nobody else does; until the store answers there is nothing to lead."""
        if self._reconciler is not None and not self.leadership.is_kept:
            self._end_term()
        try:
            self.try_to_lead()
        except SQLAlchemyError as error:
            logger.warning("the store cannot be opened: %s", error)

    def _tick(self, reconciler: Reconciler) -> None:
        self._activity.begin("Ray")
        try:
            ray: RayJobs | None = None
            try:
                ray = self._remote or self._local.jobs()
                ray.version()
                self._ray_address = ray.url
                self._note_ray(None)
            except (RayUnreachableError, LocalRayError) as error:
                ray = None
                self._note_ray(str(error))
            reconciler.tick(ray)
            if self._stopping.is_set():
                return
            self._activity.begin("what is left of the tick")
            if ray is not None:
                self._look_at_nodes(ray)
            self._thinner.tick(now_utc())
        except RayUnreachableError as error:
            self._note_ray(str(error))
        except LostLeadershipError as error:
            logger.warning("%s", error)
        except SQLAlchemyError:
            # The store may be locked or its disk full for a while; nothing is lost by waiting.
            logger.exception("the store does not answer")

    def _note_ray(self, trouble: str | None) -> None:
        if trouble != self._ray_trouble:
            logger.log(logging.WARNING if trouble else logging.INFO, "Ray: %s", trouble or "ready")
        self._ray_trouble = trouble


def _in_public(trouble: str | None) -> str | None:
    """Return what anybody may be told of Ray's trouble, which may name addresses and folders."""
    return trouble if trouble in {None, _NOT_REACHED, STARTING} else _NO_ANSWER


def _make_folder(setting: str, folder: Path, *, mode: int = 0o777) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
        usable = os.access(folder, os.W_OK | os.X_OK)
        problem = "it may not be written to"
    except OSError as error:
        usable, problem = False, str(error)
    if not usable:
        raise SettingsError(
            f"ALEXNET_{setting}: {folder} cannot be used ({problem}); name another folder"
        )
