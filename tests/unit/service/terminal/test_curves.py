import io

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from service.terminal.curves import MAX_POINTS, Curves
from service.views.history import MetricHistory, MetricPoint, SeriesSpread
from service.views.jobs import JobProgress
from tests.unit.service.conftest import job_progress

NOTHING = MetricHistory(points=(), evaluations=())


def at(step: int, loss: float = 1.5) -> JobProgress:
    return job_progress(step, loss=loss)


FIRST = at(1)


def drawn(curves: Curves, *, width: int = 80, color_system: str | None = None) -> str:
    console = Console(
        width=width,
        file=io.StringIO(),
        force_terminal=color_system is not None,
        color_system=color_system,  # type: ignore[arg-type]  # one of its literals
        legacy_windows=False,
        _environ={},
    )
    console.print(curves)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_two_points_there_is_no_curve() -> None:
    curves = Curves(NOTHING)
    assert drawn(curves) == ""
    curves.add(at(1))
    assert drawn(curves) == ""


def test_two_curves_fit_into_80_columns_and_a_terminal_of_24_lines() -> None:
    curves = Curves(NOTHING)
    for step in range(1, 50):
        curves.add(at(step, loss=7 / step))
    lines = drawn(curves).splitlines()
    assert len(lines) == 18
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].strip() == "loss"
    assert lines[9].strip() == "images/s"
    assert [lines[8].split()[place] for place in (0, -1)] == ["1", "49"]


def test_colour_is_for_terminals_that_have_it() -> None:
    curves = Curves(NOTHING)
    for step in (1, 2, 3):
        curves.add(at(step))
    assert "\x1b" not in drawn(curves)
    assert "\x1b[36m" in drawn(curves, color_system="standard")


def test_what_is_done_again_is_drawn_once() -> None:
    spread = SeriesSpread(mean=1.0, min=1.0, max=1.0)
    values = {"loss": spread, "images_per_second": spread}
    points = tuple(
        MetricPoint(first_step=step, step=step, epoch=1.0, num_points=1, values=values)
        for step in (10, 20, 30)
    )
    curves = Curves(MetricHistory(points=points, evaluations=()))
    # The stream begins with what the history ended with.
    curves.add(at(30))
    assert curves.steps == [10, 20, 30]
    curves.forget_after(20)
    curves.add(at(25))
    assert curves.steps == [10, 20, 25]


@settings(max_examples=20)
@given(st.integers(1, 5000))
def test_curves_of_long_jobs_hold_few_points_from_end_to_end(num_steps: int) -> None:
    curves = Curves(NOTHING)
    for step in range(1, num_steps + 1):
        curves.add(FIRST.model_copy(update={"step": step}))
    assert len(curves.steps) <= 2 * MAX_POINTS
    assert (curves.steps[0], curves.steps[-1]) == (1, num_steps)
    assert curves.steps == sorted(curves.steps)
