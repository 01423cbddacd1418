from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.runs import SPEC, add_attempt
from trainer.contract.attempt import AttemptOrder
from trainer.contract.lineage import Span, spans, step_of
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def _begin(run: RunDirectory, number: int, start: int) -> None:
    """Begin an attempt after `start` steps, as if an earlier one had committed them."""
    order = AttemptOrder(
        job_id="run",
        attempt=number,
        spec=SPEC,
        accelerator="cpu",
        resume_from=f"attempts/0001/checkpoints/step-{start:08d}" if start else None,
    )
    write_order(run.attempt(number), order)


def _bounds(found: list[Span]) -> list[tuple[int, int, int | None]]:
    return [(span.attempt.number, span.start, span.stop) for span in found]


def test_a_run_without_attempts_has_no_spans(run: RunDirectory) -> None:
    assert spans(run) == []


def test_an_attempt_counts_until_the_step_a_later_one_began_with(run: RunDirectory) -> None:
    for number, start in enumerate((0, 20, 10, 30), start=1):
        _begin(run, number, start)
    # The third went back behind the second, of which nothing counts.
    assert _bounds(spans(run)) == [(1, 0, 10), (2, 20, 10), (3, 10, 30), (4, 30, None)]
    assert _bounds(spans(run, [2, 1])) == [(1, 0, 20), (2, 20, None)]


def test_a_span_covers_its_steps(run: RunDirectory) -> None:
    span = Span(run.attempt(1), 10, 12)
    assert [step for step in range(15) if span.covers(step)] == [10, 11]
    assert Span(run.attempt(1), 10, None).covers(1_000_000)


@given(starts=st.lists(st.integers(0, 12), min_size=1, max_size=6))
def test_each_step_counts_for_the_last_attempt_that_trained_it(
    starts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    starts[0] = 0
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    for number, start in enumerate(starts, start=1):
        _begin(run, number, start)
    found = spans(run)
    for step in range(14):
        counted = [span.attempt.number for span in found if span.covers(step)]
        assert counted == [max(n for n, start in enumerate(starts, 1) if start <= step)]


@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_an_attempt_without_an_order_never_began(run: RunDirectory, content: bytes | None) -> None:
    add_attempt(run)
    second = run.attempt(2)
    second.path.mkdir()
    if content is not None:
        second.order.write_bytes(content)
    third = add_attempt(run)
    assert third.number == 3
    assert _bounds(spans(run)) == [(1, 0, 0), (3, 0, None)]


def test_the_step_in_a_checkpoints_name() -> None:
    assert step_of("attempts/0003/checkpoints/step-00000120") == 120
    assert step_of("/runs/step-7/attempts/0003/checkpoints/step-123456789") == 123_456_789
