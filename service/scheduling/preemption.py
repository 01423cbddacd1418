"""Who has to wait so that a job of higher priority can run: a pure decision."""

from collections.abc import Mapping, Sequence

from service.scheduling.queue import ActiveJob, WaitingJob
from service.scheduling.room import Room, Taken

# To begin an attempt takes some 20 s (measured: shared/RAY.md); of five minutes that is 7 %.
# Assumed: so much may be lost to changing over, and whoever was begun does steps meanwhile.
UNDISTURBED_S = 300.0


def choose_victims(
    room: Room,
    held: Mapping[str, Sequence[Taken]],
    active: Sequence[ActiveJob],
    blocked: WaitingJob,
    *,
    now: float,
    ageing_s: float,
) -> tuple[str, ...]:
    """Return who is to pause so that `blocked` fits; none where it fits once others have left.

    The lowest priority goes first, of equal ones the youngest; nobody goes without need, nor where
    all that may go would not be enough. `held` is what each active job has of the nodes. The room
    is given back as it was.
    """
    needed = blocked.demand.num_replicas
    given: list[Taken] = []
    fitting = room.num_bundles(blocked.demand)

    def give(job: ActiveJob, sign: int) -> int:
        """Give back what a job has (1) or take it again (-1); return the change in bundles."""
        taken = held.get(job.id, ())
        places = {one.place for one in taken}
        before = room.num_bundles_at(places, blocked.demand)
        if sign > 0:
            room.give(taken)
            given.extend(taken)
        else:
            room.take_again(taken)
            for one in taken:
                given.remove(one)
        return room.num_bundles_at(places, blocked.demand) - before

    try:
        for job in active:
            if job.is_leaving:
                fitting += give(job, 1)
        if fitting >= needed:
            return ()
        chosen: list[ActiveJob] = []
        candidates = [job for job in active if _may_go(job, blocked, now, ageing_s)]
        for job in sorted(candidates, key=lambda job: (job.turn.priority, -(job.runs_since or 0))):
            fitting += give(job, 1)
            chosen.append(job)
            if fitting >= needed:
                break
        else:
            return ()
        # The last was needed; some before it may have been in vain, on other nodes.
        for job in reversed(chosen[:-1]):
            change = give(job, -1)
            if fitting + change >= needed:
                fitting += change
                chosen.remove(job)
            else:
                give(job, 1)
        return tuple(job.id for job in chosen)
    finally:
        room.take_again(given)


def _may_go(job: ActiveJob, blocked: WaitingJob, now: float, ageing_s: float) -> bool:
    if job.is_leaving or job.runs_since is None or now - job.runs_since < UNDISTURBED_S:
        return False
    # Age gives nobody the right to stop another. And who goes has to queue behind the one that it
    # makes room for, or it would come back before it: what it has waited already protects it.
    later = job.turn.key(ageing_s) > blocked.turn.key(ageing_s)
    return job.turn.priority < blocked.turn.priority and later
