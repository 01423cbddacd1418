import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select

from service.jobs.history import HistoryPoint, Series
from service.store.points import read_history
from service.store.store import Store
from service.store.tables import attempts, events, points
from service.store.thinning import START, ended_jobs, thin, with_more_points
from tests.unit.service.conftest import make_spec
from trainer.contract.events import Evaluated

JOB = "a"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SERIES: tuple[Series, ...] = ("loss", "images_per_second")
# Each example deletes what the one before left.
EACH_ANEW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def begin(connection: Connection, number: int, start: int) -> None:
    resume_from = None if start == 0 else f"attempts/1/checkpoints/step-{start:08}"
    connection.execute(
        insert(attempts).values(
            job_id=JOB, number=number, accelerator="cpu", resume_from=resume_from, created_at=NOW
        )
    )


def tell(connection: Connection, attempt: int, losses: Iterable[tuple[int, float]]) -> None:
    rows = [
        {
            "job_id": JOB,
            "attempt": attempt,
            "step": step,
            "at": NOW,
            "epoch": step / 10,
            "loss": loss,
            "learning_rate": 0.01,
            "images_per_second": -loss,
            "data_wait_ratio": 0.0,
        }
        for step, loss in losses
    ]
    if rows:
        connection.execute(insert(points), rows)


def forget(connection: Connection) -> None:
    connection.execute(delete(points))
    connection.execute(delete(attempts))


def remaining(connection: Connection) -> list[tuple[int, int]]:
    query = select(points.c.attempt, points.c.step).order_by(points.c.attempt, points.c.step)
    return [(row.attempt, row.step) for row in connection.execute(query)]


@pytest.fixture
def told(store: Store) -> Store:
    store.submit(JOB, make_spec(), NOW)
    return store


LOSSES = st.dictionaries(st.integers(1, 200), st.integers(-1000, 1000), min_size=1, max_size=60)


@EACH_ANEW
@given(
    losses=LOSSES, at_most=st.integers(1, 40), first=st.integers(0, 150), span=st.integers(0, 200)
)
def test_few_points_hold_every_extreme_and_are_in_order(
    told: Store, losses: dict[int, int], at_most: int, first: int, span: int
) -> None:
    def look(connection: Connection) -> Sequence[HistoryPoint]:
        forget(connection)
        begin(connection, 1, 0)
        tell(connection, 1, sorted(losses.items()))
        return read_history(
            connection, JOB, SERIES, first=first, last=first + span, max_points=at_most
        ).points

    found = told.write(look)
    asked = {step: loss for step, loss in losses.items() if first <= step <= first + span}
    assert len(found) <= at_most
    assert sum(point.num_points for point in found) == len(asked)
    ends = [(point.first_step, point.step) for point in found]
    assert all(start <= end for start, end in ends)
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(ends))
    for point in found:
        within = [loss for step, loss in asked.items() if point.first_step <= step <= point.step]
        assert len(within) == point.num_points
        spread = point.values["loss"]
        assert (spread.min, spread.max) == (min(within), max(within))
        assert spread.mean == pytest.approx(sum(within) / len(within))
        assert point.values["images_per_second"].max == -min(within)
    if len(asked) <= at_most:
        assert [(point.step, point.values["loss"].mean) for point in found] == sorted(asked.items())


@EACH_ANEW
@given(
    starts=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    at_most=st.integers(1, 60),
    data=st.data(),
)
def test_steps_that_were_done_again_appear_once_as_the_newest_attempt_did_them(
    told: Store, starts: list[int], at_most: int, data: st.DataObject
) -> None:
    starts[0] = 0
    done = {
        number: (start, data.draw(st.integers(0, 20))) for number, start in enumerate(starts, 1)
    }
    expected: dict[int, int] = {}
    for number, (start, num_steps) in done.items():
        if num_steps:
            expected = {step: loss for step, loss in expected.items() if step <= start}
            expected |= dict.fromkeys(range(start + 1, start + num_steps + 1), number)

    def look(connection: Connection) -> Sequence[HistoryPoint]:
        forget(connection)
        for number, (start, num_steps) in done.items():
            begin(connection, number, start)
            steps = range(start + 1, start + num_steps + 1)
            tell(connection, number, ((step, float(number)) for step in steps))
        return read_history(connection, JOB, SERIES, max_points=at_most).points

    found = told.write(look)
    assert len(found) <= at_most
    assert sum(point.num_points for point in found) == len(expected)
    if len(expected) <= at_most:
        assert {point.step: point.values["loss"].mean for point in found} == expected


def test_evaluations_are_a_list_of_their_own(told: Store) -> None:
    def evaluated(step: int, top1: float) -> Evaluated:
        return Evaluated(step=step, epoch=step / 10, num_samples=5, loss=1, top1=top1, top5=1)

    def tell_all(connection: Connection) -> None:
        for number, start in ((1, 0), (2, 10)):
            begin(connection, number, start)
            tell(connection, number, ((step, 1.0) for step in range(start + 1, start + 21)))
            for step in (start + 10, start + 20):
                document = evaluated(step, top1=number / 10).model_dump(mode="json")
                place = {"job_id": JOB, "number": 100 * number + step, "attempt": number}
                connection.execute(insert(events).values(**place, at=NOW, data=document))

    told.write(tell_all)
    history = told.read(lambda connection: read_history(connection, JOB, SERIES, max_points=5))
    assert history.evaluations == [evaluated(10, 0.1), evaluated(20, 0.2), evaluated(30, 0.2)]
    later = told.read(
        lambda connection: read_history(connection, JOB, SERIES, first=15, max_points=5)
    )
    assert [one.step for one in later.evaluations] == [20, 30]


def test_a_job_that_has_told_nothing_has_no_history(told: Store) -> None:
    history = told.read(lambda connection: read_history(connection, JOB, SERIES, max_points=5))
    assert (list(history.points), list(history.evaluations)) == ([], [])


@EACH_ANEW
@given(
    steps=st.lists(st.sets(st.integers(1, 300), max_size=80), min_size=1, max_size=3),
    at_most=st.integers(1, 50),
    steps_at_once=st.integers(1, 400),
)
def test_thinning_leaves_both_ends_of_each_attempt_and_about_as_many_as_asked_for(
    told: Store, steps: list[set[int]], at_most: int, steps_at_once: int
) -> None:
    def thin_all(connection: Connection) -> None:
        position = START
        while (following := thin(connection, JOB, at_most=at_most, position=position)) is not None:
            assert following > position
            position = following

    def look(connection: Connection) -> list[list[tuple[int, int]]]:
        forget(connection)
        for number, some in enumerate(steps, 1):
            begin(connection, number, 0)
            tell(connection, number, ((step, 1.0) for step in sorted(some)))
        thin_all(connection)
        once = remaining(connection)
        thin_all(connection)
        return [once, remaining(connection)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.store.thinning.STEPS_AT_ONCE", steps_at_once)
        once, twice = told.write(look)
    assert once == twice
    for number, some in enumerate(steps, 1):
        kept = [step for attempt, step in once if attempt == number]
        assert set(kept) <= some
        assert len(kept) <= at_most + 1
        if some:
            assert (kept[0], kept[-1]) == (min(some), max(some))


def test_whether_there_are_more_points_is_told_without_counting(told: Store) -> None:
    def look(connection: Connection) -> list[set[str]]:
        begin(connection, 1, 0)
        tell(connection, 1, ((step, 1.0) for step in range(5)))
        return [with_more_points(connection, [JOB, "none"], than) for than in (0, 4, 5, 6)]

    assert told.write(look) == [{JOB}, {JOB}, set(), set()]
    assert told.read(lambda connection: ended_jobs(connection, after_seq=0, limit=5)) == []
