"""What the streams of one job need to know of it, read once for all of them.

What each viewer is shown of that is theirs: whether the job is, is asked anew at each look.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from weakref import WeakValueDictionary

from service.access.caller import EVERYONE, Caller
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord
from service.store.errors import JobNotFoundError
from service.ui.charts import Chart
from service.ui.job.facts import Findings, Pulse, State, read_findings, read_pulse, read_state
from service.ui.job.published import published_beside
from service.ui.job.sections import charts_of
from service.ui.live import LOOK_EVERY_S
from service.ui.recent import Recent, RecentOf

# What takes longer to read is read no more often than that.
SLOW_EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Overview:
    """How a job stands, what came of it, and its charts: this takes longer to read."""

    state: State
    found: Findings
    charts: Sequence[Chart]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """An overview, and what the job was before it was read: it is no older."""

    pulse: Pulse
    overview: Overview


class SharedJob:
    """One job, for the threads of all streams that follow it."""

    def __init__(
        self,
        *,
        pulse: Callable[[], Pulse],
        overview: Callable[[], Overview],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pulse = Recent(pulse, for_s=LOOK_EVERY_S, clock=clock)
        self._snapshot: RecentOf[Pulse, Snapshot] = RecentOf(
            lambda pulse: Snapshot(pulse=pulse, overview=overview()),
            for_s=SLOW_EVERY_S,
            clock=clock,
        )

    def pulse(self, caller: Caller) -> Pulse:
        """Return the job and the number of its newest event, of a second ago at most.

        Raises JobNotFoundError for whoever may not see it.
        """
        job, newest = self._pulse.get()
        _check_seen(job, caller)
        return job, newest

    def snapshot(self, caller: Caller, pulse: Pulse) -> Snapshot:
        """Return what was read a few seconds ago at most; of a job that has ended, since then.

        Who comes while another reads has what was read before. Raises JobNotFoundError.
        """
        _check_seen(pulse[0], caller)
        return self._snapshot.get(pulse, is_last=pulse[0].is_terminal)


class SharedJobs:
    """The jobs that are followed; each is forgotten with the last stream of it."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._lock = Lock()
        self._jobs: WeakValueDictionary[str, SharedJob] = WeakValueDictionary()

    def of(self, job_id: str) -> SharedJob:
        """Return a job's; whoever follows it holds it."""
        plane = self._plane
        with self._lock:
            shared = self._jobs.get(job_id)
            if shared is None:
                shared = SharedJob(
                    pulse=lambda: read_pulse(plane, EVERYONE, job_id),
                    overview=lambda: read_overview(plane, read_state(plane, EVERYONE, job_id)),
                )
                self._jobs[job_id] = shared
            return shared


def read_overview(
    plane: ControlPlane, state: State, *, may_read_manifest: bool = False
) -> Overview:
    """Read the rest. What follows a page reads no manifest: it would again and again."""
    found = read_findings(plane, state)
    published = published_beside(state.job, found.report, may_read=may_read_manifest)
    return Overview(state=state, found=found, charts=charts_of(state, found, published))


def _check_seen(job: JobRecord, caller: Caller) -> None:
    if not caller.may_see(job.ownership):
        raise JobNotFoundError(job.id)
