"""What one viewer is shown of a job, out of what all its streams share."""

from dataclasses import dataclass, replace

from service.access.caller import Caller
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord
from service.ui.job.facts import Pulse, read_state
from service.ui.job.live import Seen
from service.ui.job.sections import Section, head_section, quick_sections, slow_sections
from service.ui.job.shared import SharedJob, Snapshot


@dataclass(kw_only=True)
class Follower:
    """What `LiveJob` reads by."""

    plane: ControlPlane
    caller: Caller
    job_id: str
    shared: SharedJob
    attempt: int | None
    """Whose log is asked for."""
    step: int | None
    """Of which pictures."""
    _shown: Snapshot | None = None
    _newest: int = 0
    """Number of the newest event when it was shown."""

    def pulse(self) -> Pulse:
        """Read the job, and the number of its newest event."""
        return self.shared.pulse(self.caller)

    def head(self, job: JobRecord) -> Section:
        """Return the part that changes with each step."""
        return head_section(job, self.caller)

    def quick(self) -> Seen:
        """Read what the store tells at once."""
        state = read_state(self.plane, self.caller, self.job_id)
        return Seen(sections=quick_sections(state, self.caller, self.attempt))

    def slow(self, pulse: Pulse) -> Seen | None:
        """Return everything; None: nobody has read anything newer."""
        snapshot = self.shared.snapshot(self.caller, pulse)
        job, newest = pulse
        if snapshot is self._shown and newest == self._newest:
            return None
        self._shown, self._newest = snapshot, newest
        state = snapshot.overview.state
        known = max((event.number for event in state.events), default=0)
        if known < newest:
            # Else the page would go back to before what it was told already.
            state = read_state(self.plane, self.caller, self.job_id)
        elif known == newest:
            # Where it was read behind an event more, it is of the job after that.
            state = replace(state, job=job)
        return Seen(
            sections=[
                *quick_sections(state, self.caller, self.attempt),
                *slow_sections(state, self.caller, snapshot.overview.found, self.step),
            ],
            charts=snapshot.overview.charts,
            is_current=snapshot.pulse == pulse,
        )
