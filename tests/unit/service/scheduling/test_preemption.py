from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from service.scheduling.admission import admit
from service.scheduling.placement import Demand, Node
from service.scheduling.preemption import UNDISTURBED_S
from service.scheduling.queue import ActiveJob, QueuePolicy, Turn, WaitingJob
from service.scheduling.room import Cluster, Holding
from tests.unit.service.scheduling import slow
from trainer.contract.spec import CalibrationSpec

NOW = 10_000.0
POLICY = QueuePolicy(ageing_s=4096.0, preemption=True)
BLOCKED = Turn(priority=2, since=NOW - 1024, waited_s=0.0, seq=100)


def running(
    number: int,
    *,
    priority: int = 0,
    gpus: int = 1,
    ran_s: float = 1000.0,
    waited_s: float = 0.0,
    is_leaving: bool = False,
) -> ActiveJob:
    return ActiveJob(
        id=f"r{number}",
        owner=None,
        demand=Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=gpus),
        turn=Turn(priority=priority, since=NOW, waited_s=waited_s, seq=number),
        submission_id=f"r{number}-1",
        is_leaving=is_leaving,
        runs_since=NOW - ran_s,
    )


def preempted(
    placed: list[tuple[str, ActiveJob]],
    gang: Demand,
    *,
    gpus: float = 2,
    most: int | None = None,
) -> list[str]:
    """Say who is to pause for a gang, on two nodes of so many GPUs and `most` active jobs."""
    policy = replace(POLICY, max_active_jobs=most)
    nodes = [Node(id=name, num_cpus=8, num_gpus=gpus) for name in "mn"]
    cluster = Cluster(nodes=nodes, holdings=[held_by(job, node) for node, job in placed])
    queue = [WaitingJob(id="b", owner=None, demand=gang, turn=BLOCKED)]
    active = [job for _, job in placed]
    admission = admit(cluster, active, queue, policy, limits={}, now=NOW)
    assert set(admission.preempted.values()) <= {"b"}
    return list(admission.preempted)


def held_by(job: ActiveJob, node: str) -> Holding:
    gpus = job.demand.gpus_per_replica
    return Holding(node_id=node, holder=job.submission_id, num_cpus=1, num_gpus=gpus)


PAIR = Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=2)


def test_a_calibration_is_over_before_it_may_be_asked_to_make_room() -> None:
    (longest_s,) = (
        one.le for one in CalibrationSpec.model_fields["seconds"].metadata if hasattr(one, "le")
    )
    # A warm-up and what is measured; a step of each may last on.
    assert 2 * longest_s <= UNDISTURBED_S - 60


def test_the_lowest_and_of_equal_ones_the_youngest_goes() -> None:
    lower = [("m", running(1, gpus=2, ran_s=5000)), ("n", running(2, gpus=2, ran_s=400))]
    assert preempted(lower, PAIR) == ["r2"]
    lower[1] = ("n", running(2, gpus=2, priority=1, ran_s=400))
    assert preempted(lower, PAIR) == ["r1"]


def test_nobody_goes_in_vain_nor_where_all_would_not_be_enough() -> None:
    # The youngest lies beside one that may not go: its node never has a pair.
    placed = [
        ("m", running(1, ran_s=400)),
        ("m", running(2, priority=2)),
        ("n", running(3, ran_s=5000)),
        ("n", running(4, ran_s=5000)),
    ]
    assert preempted(placed, PAIR) == ["r3", "r4"]
    assert preempted([*placed[:3], ("n", running(4, priority=3))], PAIR) == []


def test_equal_and_aged_priorities_and_beginners_are_left_alone() -> None:
    for kept in (
        running(1, gpus=2, priority=2),
        running(1, gpus=2, ran_s=UNDISTURBED_S - 1),
        replace(running(1, gpus=2), runs_since=None),
        # It would come back before the one that it makes room for.
        running(1, gpus=2, waited_s=2 * 4096.0 + 1025),
    ):
        assert (
            preempted([("m", kept), ("n", replace(kept, id="o", submission_id="o-1"))], PAIR) == []
        )


def test_who_is_leaving_already_is_enough() -> None:
    placed = [("m", running(1, gpus=2, is_leaving=True)), ("n", running(2, gpus=2))]
    assert preempted(placed, PAIR) == []


def test_as_many_jobs_as_may_be_at_work_make_room_for_one_of_higher_priority() -> None:
    one = Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=0)
    placed = [("m", running(1)), ("m", running(2, ran_s=400)), ("n", running(3, priority=2))]
    assert preempted(placed, one, most=4) == []
    assert preempted(placed, one, most=3) == ["r2"]
    # An operator has set it lower meanwhile.
    assert preempted(placed, one, most=2) == ["r2", "r1"]
    assert preempted(placed, one, most=1) == []
    placed[0] = ("m", running(1, is_leaving=True))
    assert preempted(placed, one, most=3) == []


def test_who_leaves_makes_both_room_and_a_place() -> None:
    # The youngest has no GPU, and the pair needs both of one node.
    placed = [
        ("m", running(1, gpus=2, ran_s=5000)),
        ("n", running(2, priority=2)),
        ("n", running(3, gpus=0)),
    ]
    assert preempted(placed, PAIR, most=3) == ["r1"]
    assert preempted(placed, PAIR, most=2) == ["r3", "r1"]


jobs = st.tuples(
    st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from([100.0, 400.0, 5000.0]),
    st.sampled_from([0.0, 20_000.0]),
    st.sampled_from([False, False, True]),
)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from("mn"), jobs), max_size=7),
    st.integers(1, 2),
    st.integers(1, 2),
    st.none() | st.integers(1, 7),
)
def test_a_gang_fits_once_the_chosen_are_gone_and_without_one_of_them_it_does_not(
    drawn: list[tuple[str, tuple[int, int, float, float, bool]]],
    replicas: int,
    gpus: int,
    most: int | None,
) -> None:
    gang = Demand(num_replicas=replicas, cpus_per_replica=1, gpus_per_replica=gpus)
    nodes = [Node(id=name, num_cpus=8, num_gpus=4) for name in "mn"]
    placed: list[tuple[str, ActiveJob]] = []
    for number, (node, (priority, size, ran_s, waited_s, is_leaving)) in enumerate(drawn):
        job = running(
            number,
            priority=priority,
            gpus=size,
            ran_s=ran_s,
            waited_s=waited_s,
            is_leaving=is_leaving,
        )
        if sum(one.demand.gpus_per_replica for at, one in placed if at == node) + size <= 4:
            placed.append((node, job))

    def fits_without(gone: set[str]) -> bool:
        stay = [held_by(job, node) for node, job in placed if job.id not in gone]
        if most is not None and len(stay) >= most:
            return False
        return slow.place(slow.free_beside(nodes, stay), gang) is not None

    chosen = preempted(placed, gang, gpus=4, most=most)
    leaving = {job.id for _, job in placed if job.is_leaving}
    may_go = {
        job.id
        for _, job in placed
        if not job.is_leaving
        and job.turn.priority < BLOCKED.priority
        and (job.runs_since or NOW) <= NOW - UNDISTURBED_S
        and job.turn.effective_priority(NOW, 4096.0) < BLOCKED.effective_priority(NOW, 4096.0)
    }
    assert set(chosen) <= may_go
    # Somebody goes exactly where that is needed and is enough.
    assert bool(chosen) == (not fits_without(leaving) and fits_without(leaving | may_go))
    if chosen:
        assert fits_without(leaving | set(chosen))
        assert not any(fits_without(leaving | set(chosen) - {one}) for one in chosen)


@given(st.floats(200.0, 2000.0), st.integers(1, 2), st.floats(0.0, 500.0))
def test_one_that_makes_room_again_and_again_is_left_alone_in_the_end(
    work_s: float, steps: int, pause_s: float
) -> None:
    """One job, and one after another of a higher priority that needs its devices."""
    now, waited_s, num_preempted = NOW, 0.0, 0
    most = (steps * POLICY.ageing_s + UNDISTURBED_S) / work_s + 1
    for _ in range(int(most) + 2):
        began = now
        arrives = began + pause_s
        now = max(arrives, began + UNDISTURBED_S)
        low = replace(running(1, gpus=2, waited_s=waited_s), runs_since=began)
        low = replace(low, turn=replace(low.turn, since=now))
        high = Turn(priority=steps, since=arrives, waited_s=0.0, seq=100)
        admission = admit(
            Cluster(
                nodes=[Node(id="m", num_cpus=8, num_gpus=2)],
                holdings=[replace(held_by(low, "m"), num_gpus=2)],
            ),
            [low],
            [WaitingJob(id="b", owner=None, demand=PAIR, turn=high)],
            POLICY,
            limits={},
            now=now,
        )
        if not admission.preempted:
            break
        num_preempted += 1
        # It waits until the other has done its work.
        waited_s += work_s
        now += work_s
    else:
        raise AssertionError(f"it made room {num_preempted} times")
    assert 1 <= num_preempted <= most
