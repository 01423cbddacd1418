from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from service.jobs.history import (
    Breakdown,
    HistoryPoint,
    Spread,
    broken_down,
    buckets,
    evaluations_that_count,
    stretches,
    thinned,
    together,
)
from trainer.contract.events import Evaluated, Phase

STARTS = st.lists(st.integers(0, 50), min_size=1, max_size=6).map(
    lambda afters: list(enumerate(afters, 1))
)


@given(STARTS)
def test_each_step_counts_as_the_newest_attempt_that_did_it(starts: list[tuple[int, int]]) -> None:
    found = stretches(starts, last_step=60)
    for step in range(1, 61):
        did_it = [attempt for attempt, after in starts if after < step]
        counting = [one.attempt for one in found if one.after < step <= one.through]
        assert counting == did_it[-1:]
    assert [one.after for one in found] == sorted(one.after for one in found)


@given(STARTS, st.data())
def test_an_evaluation_counts_once_and_only_of_a_network_that_was_not_trained_anew(
    starts: list[tuple[int, int]], data: st.DataObject
) -> None:
    told = [
        (attempt, Evaluated(step=step, epoch=1, num_samples=attempt, loss=1, top1=0, top5=0))
        for attempt, after in starts
        for step in sorted(data.draw(st.sets(st.integers(after, 60), max_size=4)))
    ]
    found = evaluations_that_count(told, starts)
    assert [one.step for one in found] == sorted({one.step for one in found})
    for one in found:
        later = [after for attempt, after in starts if attempt > one.num_samples]
        assert all(one.step <= after for after in later)
    newest = starts[-1][0]
    assert {one.step for attempt, one in told if attempt == newest} <= {one.step for one in found}


@given(first=st.integers(0, 1000), span=st.integers(0, 1000), at_most=st.integers(1, 50))
def test_buckets_cut_a_range_into_few_parts_that_leave_nothing_out(
    first: int, span: int, at_most: int
) -> None:
    parts = list(buckets(first, first + span, at_most=at_most))
    assert len(parts) <= at_most
    steps = [step for start, end in parts for step in range(start, end + 1)]
    assert steps == list(range(first, first + span + 1))


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.data())
def test_parts_together_are_what_all_their_points_are(
    values: list[float], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(values)))
    parts = [part for part in (values[:cut], values[cut:]) if part]
    point = together([_point(part) for part in parts])
    whole = _point(values)
    assert point.num_points == whole.num_points
    assert (point.values["loss"].min, point.values["loss"].max) == (min(values), max(values))
    assert abs(point.values["loss"].mean - whole.values["loss"].mean) < 1e-9


def _point(values: list[float]) -> HistoryPoint:
    spread = Spread(mean=sum(values) / len(values), min=min(values), max=max(values))
    return HistoryPoint(
        first_step=1, step=1, epoch=1.0, num_points=len(values), values={"loss": spread}
    )


@given(st.sets(st.integers(0, 300), min_size=1), st.integers(1, 50), st.integers(1, 40))
def test_thinning_keeps_one_of_each_range_both_ends_and_is_done_once(
    steps: set[int], width: int, ranges_at_once: int
) -> None:
    ordered = sorted(steps)
    first, last = ordered[0], ordered[-1]
    dropped = set(thinned(ordered, first=first, width=width, last=last))
    kept = [step for step in ordered if step not in dropped]
    assert dropped <= steps
    assert (kept[0], kept[-1]) == (first, last)
    assert len(kept) <= (last - first) // width + 2
    assert {(step - first) // width for step in kept} == {(step - first) // width for step in steps}
    assert thinned(kept, first=first, width=width, last=last) == []
    # A few ranges at a time come to the same.
    piecewise: set[int] = set()
    for start in range(first, last + 1, width * ranges_at_once):
        piece = [step for step in ordered if start <= step < start + width * ranges_at_once]
        piecewise |= set(thinned(piece, first=first, width=width, last=last))
    assert piecewise == dropped


def broken(step: int, phases: Mapping[Phase, float], *rates: float) -> Breakdown:
    return Breakdown(
        first_step=step,
        step=step,
        epoch=step / 10,
        phase_seconds=phases,
        replica_images_per_second=rates,
    )


def test_breakdowns_become_fewer_by_their_means() -> None:
    singles = [
        broken(1, {"forward": 1.0}, 4.0, 2.0),
        broken(2, {"forward": 2.0, "checkpoint": 1.0}, 8.0, 4.0),
        broken(3, {}),
        broken(4, {"forward": 3.0}),
    ]
    assert broken_down(singles, at_most=4) == [
        replace(one, replica_images_per_second=list(one.replica_images_per_second))
        for one in singles
    ]
    both, rest = broken_down(singles, at_most=2)
    assert (both.first_step, both.step, both.epoch) == (1, 2, 0.2)
    assert both.phase_seconds == {"forward": 1.5, "checkpoint": 0.5}
    assert both.replica_images_per_second == [6.0, 3.0]
    assert (rest.phase_seconds, rest.replica_images_per_second) == ({"forward": 3.0}, [])
    assert broken_down([], at_most=4) == []


def test_a_resize_in_between_is_shown_as_it_is_since() -> None:
    (one,) = broken_down([broken(1, {}, 9.0, 9.0), broken(2, {}, 1.0, 2.0, 3.0)], at_most=1)
    assert one.replica_images_per_second == [1.0, 2.0, 3.0]
