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
    num_too_many: int = 0,
    now: float,
    ageing_s: float,
) -> tuple[str, ...]:
    """Return who is to pause so that `blocked` fits; none where it fits once others have left.

    The lowest priority goes first, of equal ones the youngest; nobody goes without need, nor where
    all that may go would not be enough. `num_too_many`: so many have to leave whatever room there
    is, as only so many may be at work. `held` is what each active job has of the nodes. The room is
    given back as it was.
    """
    given: list[Taken] = []
    num_bundles = room.num_bundles(blocked.demand)
    num_gone = sum(job.is_leaving for job in active)

    def fits() -> bool:
        return num_bundles >= blocked.demand.num_replicas and num_gone >= num_too_many

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
                num_bundles += give(job, 1)
        if fits():
            return ()
        chosen: list[ActiveJob] = []
        candidates = [job for job in active if _may_go(job, blocked, now, ageing_s)]
        for job in sorted(candidates, key=lambda job: (job.turn.priority, -(job.runs_since or 0))):
            num_bundles += give(job, 1)
            num_gone += 1
            chosen.append(job)
            if fits():
                break
        else:
            return ()
        # The last was needed; some before it may have been in vain, on other nodes.
        for job in reversed(chosen[:-1]):
            num_bundles += give(job, -1)
            num_gone -= 1
            if fits():
                chosen.remove(job)
            else:
                num_bundles += give(job, 1)
                num_gone += 1
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
