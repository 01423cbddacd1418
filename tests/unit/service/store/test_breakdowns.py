"""History by phase and by replica."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, insert, update

from service.jobs.history import Breakdown
from service.store import breakdowns
from service.store.breakdowns import read_breakdowns
from service.store.store import Store
from service.store.tables import points
from service.store.thinning import START, thin
from tests.unit.service.conftest import job_in, progress, report
from tests.unit.service.store.test_points import JOB, NOW, begin, told  # noqa: F401
from trainer.contract.status import Status


def tell(connection: Connection, attempt: int, documents: Mapping[int, Any]) -> None:
    rows = [
        {
            "job_id": JOB,
            "attempt": attempt,
            "step": step,
            "at": NOW,
            "epoch": step / 10,
            "loss": 1.0,
            "learning_rate": 0.01,
            "images_per_second": 1.0,
            "data_wait_ratio": 0.0,
            "phase_seconds": document,
        }
        for step, document in documents.items()
    ]
    connection.execute(insert(points), rows)


def read(store: Store, at_most: int = 100) -> Sequence[Breakdown]:
    return store.read(lambda connection: read_breakdowns(connection, JOB, at_most=at_most))


def test_what_is_reported_is_read(store: Store) -> None:
    job_in(store, Status.RUNNING, JOB)
    assert read(store) == []
    phases = {"forward": 0.25, "data_wait": 0.125}
    report(
        store,
        JOB,
        progress(1, phase_seconds=phases, replica_images_per_second=(4.0, 2.0)),
        progress(2, phase_seconds=phases),
        # Of release 0.1.
        progress(3),
    )
    first, second = read(store)
    assert (first.step, first.phase_seconds, first.replica_images_per_second) == (
        1,
        phases,
        [4.0, 2.0],
    )
    assert (second.step, second.phase_seconds, second.replica_images_per_second) == (2, phases, [])


def test_former_names_are_read_and_unknown_ones_harm_nothing(told: Store) -> None:  # noqa: F811
    def write(connection: Connection) -> None:
        begin(connection, 1, 0)
        tell(connection, 1, {1: {"prepare": 0.5}, 2: {"thinking": 1.0}, 3: {"forward": 1.0}})

    told.write(write)
    assert [one.phase_seconds for one in read(told)] == [{"transfer": 0.5}, {}, {"forward": 1.0}]


def test_steps_that_were_done_again_count_as_the_newest_attempt_did_them(
    told: Store,  # noqa: F811
) -> None:
    def write(connection: Connection) -> None:
        begin(connection, 1, 0)
        tell(connection, 1, {step: {"forward": 1.0} for step in (1, 2, 3, 4)})
        begin(connection, 2, 2)
        tell(connection, 2, {step: {"backward": 1.0} for step in (3, 4)})

    told.write(write)
    assert [[*one.phase_seconds] for one in read(told)] == [["forward"]] * 2 + [["backward"]] * 2


def test_of_many_points_few_are_read_and_all_of_the_run_is_there(
    told: Store,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breakdowns, "MAX_READ", 20)

    def write(connection: Connection) -> None:
        begin(connection, 1, 0)
        tell(connection, 1, {step: {"forward": float(step)} for step in range(1, 101)})
        begin(connection, 2, 60)
        tell(connection, 2, {step: {"forward": float(step)} for step in range(61, 201)})

    told.write(write)
    found = read(told)
    # The first of each ten steps, and of those in which an attempt ends the first of both.
    assert [one.step for one in found] == [*range(1, 201, 10)]
    assert [one.phase_seconds["forward"] for one in found] == [*range(1, 201, 10)]
    fewer = read(told, at_most=5)
    assert [(one.first_step, one.step) for one in fewer] == [
        (1, 31),
        (41, 71),
        (81, 111),
        (121, 151),
        (161, 191),
    ]
    assert fewer[0].phase_seconds["forward"] == 16

    # What is thinned out when the job is over is shown alike.
    def thin_out(connection: Connection) -> None:
        position = START
        while (then := thin(connection, JOB, at_most=20, position=position)) is not None:
            position = then

    told.write(thin_out)
    assert {one.step for one in found} <= {one.step for one in read(told)}


def test_nothing_is_told_of_points_without_it(told: Store) -> None:  # noqa: F811
    def write(connection: Connection) -> None:
        begin(connection, 1, 0)
        tell(connection, 1, {1: {"forward": 1.0}})
        connection.execute(update(points).values(phase_seconds=None))

    told.write(write)
    assert read(told) == []
