from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.runs import add_attempt
from trainer.attempt.spool import Spool
from trainer.contract.events import AttemptEventData, Evaluated, Progress, SamplesSkipped
from trainer.contract.lineage import Span, spans
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import Protocol
from trainer.pictures.told import Spooled, Thinned, fewer, lineage_of


def told(step: int, loss: float) -> Progress:
    return Progress(
        step=step,
        epoch=step / 10,
        planned_steps=100,
        loss=loss,
        learning_rate=0.01,
        images_per_second=1.0,
        data_wait_ratio=0.0,
    )


def measured(step: int, top1: float, protocol: Protocol = "centre_crop") -> Evaluated:
    return Evaluated(
        step=step, epoch=1, num_samples=9, loss=1.5, top1=top1, top5=0.9, protocol=protocol
    )


def tell(attempt: AttemptDirectory, *events: AttemptEventData) -> None:
    spool = Spool(attempt.events)
    for event in events:
        spool.append(event)
    spool.close()


def test_a_spool_is_read_on_and_what_is_no_curve_is_passed_over(tmp_path: Path) -> None:
    attempt = add_attempt(RunDirectory(tmp_path))
    spooled = Spooled(attempt.events)
    spooled.read_on()
    assert spooled.loss.points == []
    tell(attempt, told(1, 3.0), SamplesSkipped(step=1, samples=("a",), reason="no", total=1))
    with attempt.events.open("ab") as file:
        file.write(b'{"number": 1, "da{"}\n[]\n{"data": {"kind": "progress"}}\n')
    tell(attempt, told(2, 2.5), measured(2, 0.5))
    half = told(3, 2.0).model_dump_json()
    with attempt.events.open("a") as file:
        file.write(f'{{"data": {half}')
    spooled.read_on()
    assert spooled.loss.points == [(1, 3.0), (2, 2.5)]
    assert spooled.evaluations == [measured(2, 0.5)]
    with attempt.events.open("a") as file:
        file.write("}\n")
    spooled.read_on()
    assert spooled.loss.points[2:] == [(3, 2.0)]
    assert len(spooled.evaluations) == 1


@given(st.integers(0, 20_000))
def test_of_a_long_run_some_points_remain_and_their_mean_is_true(num_steps: int) -> None:
    thinned = Thinned()
    for step in range(1, num_steps + 1):
        thinned.add(step, float(step))
    assert len(thinned.points) < 2000
    assert len(thinned.points) >= min(num_steps, 1000) - 1
    steps = [0, *(step for step, _ in thinned.points)]
    for (before, last), (_, mean) in zip(pairwise(steps), thinned.points, strict=True):
        assert mean == pytest.approx((before + 1 + last) / 2)


def _area(points: Sequence[tuple[int, float]]) -> float:
    """Return the sum over steps, where a point stands for those since the one before."""
    steps = [0, *(step for step, _ in points)]
    return sum(
        (step - before) * number for before, (step, number) in zip(steps, points, strict=False)
    )


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(-99, 99)), max_size=200), st.integers(2, 50)
)
def test_of_many_attempts_no_more_points_remain_and_their_mean_is_the_runs(
    told_after: list[tuple[int, int]], most: int
) -> None:
    steps = accumulate(gap for gap, _ in told_after)
    points = [(step, float(one)) for step, (_, one) in zip(steps, told_after, strict=True)]
    kept = fewer(points, most)
    assert len(kept) <= most
    assert [step for step, _ in kept[-1:]] == [step for step, _ in points[-1:]]
    assert _area(kept) == pytest.approx(_area(points))
    if len(points) <= most:
        assert kept == points


def test_a_point_counts_as_many_times_as_it_stands_for_steps() -> None:
    # An attempt told each step, the next every fifth.
    points = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 5.0), (10, 8.0), (15, 9.0), (20, 10.0)]
    assert fewer(points, 2) == [(10, 5.5), (20, 9.5)]


def _spooled(attempts: Sequence[AttemptDirectory]) -> list[Spooled]:
    found = [Spooled(attempt.events) for attempt in attempts]
    for one in found:
        one.read_on()
    return found


def test_what_was_done_again_counts_as_the_later_attempt_did_it(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    first = add_attempt(run)
    tell(first, told(1, 3.0), told(2, 2.0), measured(2, 0.1), told(3, 9.0), measured(3, 0.9))
    second = add_attempt(run, resume_from=first.checkpoint(2))
    tell(second, told(3, 1.0), measured(3, 0.2), measured(3, 0.3, "ten_view"))
    lineage: list[Span] = spans(run)
    found = lineage_of(lineage, _spooled([first, second]))
    assert found.loss == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert [(one.step, one.protocol, one.top1) for one in found.evaluations] == [
        (2, "centre_crop", 0.1),
        (3, "centre_crop", 0.2),
        (3, "ten_view", 0.3),
    ]
