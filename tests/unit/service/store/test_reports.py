"""Reports that are stored together: as if one came after the other."""

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from service.jobs.lifecycle import Decision
from service.store.reports import Report, Taken, store_reports, what_follows
from service.store.store import Store
from service.store.tables import attempts, checkpoints, events, jobs, points
from tests.unit.service.conftest import FIRST_ATTEMPT, job_in, now, progress
from tests.unit.service.databases import Databases, written_by_another
from trainer.contract.attempt import Outcome
from trainer.contract.events import (
    AttemptEvent,
    AttemptEventData,
    CheckpointSaved,
    Evaluated,
    Finished,
    Progress,
    SamplesSkipped,
    Started,
)
from trainer.contract.status import Desired, Status

AT = now()
# Told by the clock when the stores were filled.
BY_CLOCK = {"created_at", "status_since", "started_at", "ended_at", "finished_at", "waited_s"}
CRASH = Outcome(outcome="failed", message="it died")


def event(number: int, kind: str = "progress") -> AttemptEvent:
    data: Progress | Evaluated | CheckpointSaved = progress(number)
    if kind == "evaluated":
        data = Evaluated(step=number, epoch=0.3, num_samples=9, loss=1.0, top1=0.5, top5=0.9)
    if kind == "checkpoint":
        digest = "f" * 64
        data = CheckpointSaved(
            step=number, epoch=0.3, path="p", size_bytes=9, weights_sha256=digest, top1=None
        )
    return AttemptEvent(number=number, at=AT, data=data)


def report(job_id: str, attempt: int, reported: Sequence[AttemptEvent], after_s: int = 0) -> Report:
    at = AT + timedelta(seconds=after_s)
    return Report(job_id=job_id, attempt=attempt, events=reported, at=at)


def fill(store: Store) -> None:
    """Two jobs that run, one at its second attempt that is to pause, one that is over."""
    job_in(store, Status.RUNNING, "a")
    job_in(store, Status.RUNNING, "b")
    again = job_in(store, Status.RETRYING, "c")
    store.begin_attempt(again, replace(FIRST_ATTEMPT, number=2), AT)
    store.ask("c", Desired.PAUSE)
    job_in(store, Status.CANCELLED, "d")


def everything(store: Store) -> dict[str, list[dict[str, object]]]:
    """Return all rows, without moments that no two stores have in common."""
    with store._engine.connect() as connection:
        return {
            table.name: [
                {
                    name: value
                    for name, value in row._mapping.items()
                    if name not in BY_CLOCK and (table is not events or name != "at")
                }
                for row in connection.execute(select(table).order_by(*table.primary_key))
            ]
            for table in (jobs, attempts, events, checkpoints, points)
        }


kinds = st.sampled_from(["progress"] * 4 + ["evaluated", "checkpoint"])
told = st.lists(st.builds(event, st.integers(1, 8), kinds), max_size=6)
some_reports = st.lists(
    st.builds(report, st.sampled_from("abcdx"), st.integers(1, 2), told, st.integers(0, 9)),
    max_size=8,
)


@pytest.mark.slow
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None
)
@given(reports=some_reports)
@example(
    reports=[
        report("a", 1, [event(1), event(2)]),
        report("c", 1, [event(1)]),
        report("a", 1, [event(4), event(3, "checkpoint"), event(2)], 5),
        report("x", 1, [event(1)]),
        report("c", 2, [event(1, "evaluated")]),
        report("a", 1, [event(5)], 1),
    ]
)
def test_together_they_are_stored_as_one_after_the_other(
    databases: Databases, reports: list[Report]
) -> None:
    with (
        closing(Store(databases.migrated())) as together,
        closing(Store(databases.migrated())) as apart,
    ):
        fill(together)
        fill(apart)
        outcomes = together.write(partial(store_reports, reports=reports))
        one_by_one = [
            outcome
            for one in reports
            for outcome in apart.write(partial(store_reports, reports=[one]))
        ]
        assert list(map(repr, outcomes)) == list(map(repr, one_by_one))
        assert everything(together) == everything(apart)


def test_each_is_told_what_came_of_it(store: Store) -> None:
    fill(store)
    futures = [
        store.take_report(report(*given))
        for given in (("a", 1, [event(1)]), ("c", 1, [event(1)]), ("c", 2, [event(1), event(3)]))
    ]
    first, stale, second = (future.exception() or future.result() for future in futures)
    assert first == Taken(
        stored_before=0, stored_through=1, status=Status.RUNNING, told=Desired.RUN
    )
    assert str(stale).endswith("is no longer current: stop")
    assert second == Taken(
        stored_before=0, stored_through=1, status=Status.STARTING, told=Desired.PAUSE
    )


def test_of_points_of_one_step_the_last_stays(store: Store) -> None:
    fill(store)
    losses = (3.0, 2.0, 1.0)
    told = [
        AttemptEvent(number=number, at=AT, data=progress(7, loss=loss))
        for number, loss in enumerate(losses, 1)
    ]
    # In one report, and in one that is stored beside it.
    reports = [report("a", 1, told[:2]), report("a", 1, told[2:])]
    store.write(partial(store_reports, reports=reports))
    found = store.read(lambda connection: connection.execute(select(points)).one())
    assert (found.step, found.loss) == (7, 1.0)
    assert store.job("a").progress == progress(7, loss=1.0)


finite = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.just(UTC))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=3, deadline=None
)
@given(told=st.lists(st.tuples(finite, moments), min_size=10, max_size=50))
@example(told=[(5e-324, AT), (-0.1, AT)])
def test_numbers_and_moments_are_read_back_exactly_as_they_were_sent(
    databases: Databases, told: list[tuple[float, datetime]]
) -> None:
    sent = [
        AttemptEvent(
            number=step,
            at=at,
            data=progress(step, loss=number, phase_seconds={"compute": abs(number)}),
        )
        for step, (number, at) in enumerate(told, 1)
    ]
    with closing(Store(databases.migrated())) as store:
        fill(store)
        store.append_events("a", 1, sent)
        query = select(points).order_by(points.c.step)
        found = store.read(lambda connection: connection.execute(query).all())
        assert [(row.loss, row.at) for row in found] == told
        assert [row.phase_seconds["compute"] for row in found] == [abs(loss) for loss, _ in told]
        assert store.job("a").progress == sent[-1].data


EACH_KIND: tuple[AttemptEventData, ...] = (
    Started(start_step=0, planned_steps=9, steps_per_epoch=3, worker_pids=(7, 8), devices=("cpu",)),
    progress(1, phase_seconds={"compute": 0.5}),
    Evaluated(step=1, epoch=1, num_samples=9, loss=1, top1=0.5, top5=0.9, seconds=1),
    CheckpointSaved(step=1, epoch=1, path="p", size_bytes=9, weights_sha256="f" * 64, top1=None),
    SamplesSkipped(step=1, samples=("a:1",), reason="cut", by_reason={"broken": 1}, total=1),
    Finished(outcome="succeeded", step=1),
)
EDGES = (
    *(sign * (2**bits + more) for sign in (1, -1) for bits in (31, 63) for more in (-1, 0, 1)),
    *(-1, 0, 1, 0.5, 2**70, 5e-324, 1e308, -1e308),
)
MOMENTS = (
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00"),
    *("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59"),
)


def admitted_at_the_edge() -> Iterator[AttemptEvent]:
    """Give events of each kind with each number, or the moment, replaced by what is admitted."""
    number = 1
    for data in EACH_KIND:
        document = data.model_dump(mode="json")
        others: list[dict[str, Any]] = [{"at": moment, "data": document} for moment in MOMENTS]
        for (name, value), edge in itertools.product(document.items(), EDGES):
            match value:
                case int() | float():
                    others.append({"at": AT, "data": document | {name: edge}})
                case [int(), *rest]:
                    others.append({"at": AT, "data": document | {name: [edge, *rest]}})
                case dict() if value:
                    others.append({"at": AT, "data": document | {name: dict.fromkeys(value, edge)}})
        for other in others:
            with suppress(ValidationError):
                yield AttemptEvent.model_validate({"number": number, **other})
                number += 1


def test_the_store_takes_whatever_the_contract_admits(store: Store) -> None:
    fill(store)
    steps = set()
    for told in admitted_at_the_edge():
        assert store.append_events("a", 1, [told]).stored_through == told.number
        steps.add(told.data.step if isinstance(told.data, Progress) else 0)
    assert steps == {0, 1, 2**31 - 1}
    assert len([one for one in store.events("a", limit=1000) if one.attempt == 1]) > 100


def test_one_that_cannot_be_stored_keeps_no_other_from_it(store: Store) -> None:
    fill(store)
    # Past the contract, which bounds it.
    beyond = event(1).model_copy(update={"data": progress(1).model_copy(update={"step": 2**70})})
    futures = [
        store.take_report(report(name, 1, [one])) for name, one in (("a", event(1)), ("b", beyond))
    ]
    assert futures[0].result().stored_through == 1
    assert isinstance(futures[1].exception(), SQLAlchemyError | OverflowError)
    assert store.attempt("b", 1).events_through == 0


def test_all_who_wait_for_a_store_that_is_locked_are_refused_together(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.engine.BUSY_TIMEOUT_MS", 300)
    url = databases.migrated()
    with closing(Store(url)) as store:
        fill(store)
        with written_by_another(url):
            begun = time.monotonic()
            futures = [store.take_report(report("a", 1, [event(1)])) for _ in range(32)]
            assert {type(future.exception()) for future in futures} == {OperationalError}
            # The first alone, and the others together: not 300 ms each.
            assert time.monotonic() - begun < 32 * 0.3 / 2
        assert store.append_events("a", 1, [event(1)]).stored_through == 1


def test_nothing_is_stored_of_an_attempt_that_has_just_ended(store: Store) -> None:
    job = job_in(store, Status.RUNNING, "a")
    store.apply(job, Decision(status=Status.RETRYING, ended=CRASH), AT)
    assert store.take_report(report("a", 1, [event(1)])).exception() is not None
    found = store.read(lambda connection: connection.execute(select(points)).all())
    assert found == []


@given(st.lists(st.integers(1, 9)), st.integers(0, 5))
def test_what_follows_has_no_gap_and_ends_at_the_first(numbers: list[int], through: int) -> None:
    found = [one.number for one in what_follows([event(number) for number in numbers], through)]
    assert found == list(range(through + 1, through + len(found) + 1))
    assert through + len(found) + 1 not in numbers
