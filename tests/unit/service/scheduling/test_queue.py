from hypothesis import given
from hypothesis import strategies as st

from service.scheduling.placement import Demand
from service.scheduling.queue import QueuePolicy, Turn, WaitingJob, in_order

ONE = Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=0)
# Whole seconds: sums of them are exact, so that equal priorities are equal.
turns = st.builds(
    Turn,
    priority=st.integers(-3, 3),
    since=st.integers(0, 1000).map(float),
    waited_s=st.integers(0, 1000).map(float),
    seq=st.integers(1, 5),
)


@given(turns, turns, st.integers(1000, 2000).map(float), st.sampled_from([64.0, 1024.0]))
def test_the_key_sorts_by_effective_priority_whenever_it_is_asked_and_then_by_arrival(
    one: Turn, other: Turn, now: float, ageing_s: float
) -> None:
    effective = [turn.effective_priority(now, ageing_s) for turn in (one, other)]
    expected = (-effective[0], one.seq) < (-effective[1], other.seq)
    assert (one.key(ageing_s) < other.key(ageing_s)) == expected


@given(turns, st.floats(1, 1e4), st.integers(1000, 2000), st.integers(0, 3000))
def test_priority_grows_by_one_in_each_step_of_ageing(
    turn: Turn, ageing_s: float, now: int, later: int
) -> None:
    before = turn.effective_priority(now, ageing_s)
    after = turn.effective_priority(now + later * ageing_s, ageing_s)
    assert abs(after - before - later) < 1e-6 * (1 + abs(after))


def test_an_hour_of_waiting_outweighs_one_step_of_priority() -> None:
    def job(name: str, priority: int, since: float, waited_s: float = 0.0) -> WaitingJob:
        turn = Turn(priority=priority, since=since, waited_s=waited_s, seq=ord(name))
        return WaitingJob(id=name, owner=None, demand=ONE, turn=turn)

    queue = [
        job("a", 0, 0),
        job("b", 1, 3601),
        job("c", 1, 3599),
        job("d", 0, 3600, waited_s=3600),
        job("e", 0, 0),
    ]
    assert [one.id for one in in_order(queue, QueuePolicy())] == ["c", "a", "d", "e", "b"]
