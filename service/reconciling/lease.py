"""Which of several processes leads: what each concludes from the lease and its own clock. Pure.

Clocks are not compared between machines. A holder renews the lease, which changes it; whoever
waits sees by its own clock for how long it has not changed. The holder stops regarding itself as
the leader somewhat earlier, by its own clock too, whatever it has slept through. Where clocks run
at rates so different that two believe they lead, the fence refuses the earlier one's writes.
"""

from dataclasses import dataclass

from service.store.leases import LeaseRecord

# So often a lease is renewed before it runs out, as that may fail now and then (assumed).
RENEWALS_PER_DURATION = 5
# Of its duration a holder relies on this part: clocks' rates may differ by a fourth.
RELIED_ON = 0.8


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A process that does not lead, and what it has seen of the lease."""

    seen: LeaseRecord | None = None
    since_s: float | None = None
    """When, by its own clock, it first saw the lease as it is; None: it has not looked yet."""
    has_seen_it_change: bool = False
    """Whether it looked before that too, so that the lease was not long as it is."""

    def look(self, record: LeaseRecord | None, now_s: float) -> "Waiting":
        """Take note of the lease as it was read. `now_s`: after the read."""
        if self.since_s is not None and record == self.seen:
            return self
        return Waiting(seen=record, since_s=now_s, has_seen_it_change=self.since_s is not None)

    def watched_s(self, now_s: float) -> float | None:
        """Return for how long the lease has been as it is; None: this process came later."""
        if self.since_s is None or not self.has_seen_it_change:
            return None
        return now_s - self.since_s

    def is_free(self, now_s: float) -> bool:
        """Whether the lease as it was seen may be taken: released, or not renewed for too long."""
        if self.since_s is None:
            return False
        if self.seen is None or self.seen.released:
            return True
        return now_s - self.since_s >= self.seen.duration_s


@dataclass(frozen=True, kw_only=True)
class Leading:
    """A process that has taken the lease, and has not heard that another has since."""

    fence: int
    duration_s: float
    renewed_s: float
    """When, by its own clock, it last began what then renewed the lease."""

    def renew(self, asked_s: float) -> "Leading":
        """Note a renewal. `asked_s`: before it was asked for, as it may have been done then."""
        return Leading(fence=self.fence, duration_s=self.duration_s, renewed_s=asked_s)

    def holds(self, now_s: float) -> bool:
        """Whether nobody else can lead yet."""
        return now_s - self.renewed_s < self.duration_s * RELIED_ON
