from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.unit.trainer.pictures.test_figure import texts
from tests.unit.trainer.pictures.test_told import measured, tell, told
from tests.unit.trainer.runs import SPEC, add_attempt
from trainer.contract.pictures import CURVES_NAME, curves_of
from trainer.contract.published import results_like
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.pictures.curves import Curves, panels
from trainer.pictures.thinning import thin
from trainer.pictures.told import MOST_POINTS, Told


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_curves_of_the_whole_run_lie_in_the_newest_attempts_folder(run: RunDirectory) -> None:
    first = add_attempt(run)
    curves = Curves(first, SPEC)
    curves.draw()
    assert curves_of(run, [1]) is None
    tell(first, told(1, 3.0), told(2, 2.0))
    curves.draw()
    assert curves_of(run, [1]) == f"attempts/0001/pictures/{CURVES_NAME}"
    file = first.pictures / CURVES_NAME
    assert {"run: loss and errors", "Loss (nats)", "Training"} <= set(texts(file.read_bytes()))
    assert "Validation" not in texts(file.read_bytes())
    tell(first, measured(2, 0.5))
    curves.draw()
    assert {"Validation", "Top-1, centre crop"} <= set(texts(file.read_bytes()))
    second = add_attempt(run, resume_from=first.checkpoint(2))
    Curves(second, SPEC).draw()
    thin(second, drawn=100)
    newest = curves_of(run, [1, 2])
    assert newest == f"attempts/0002/pictures/{CURVES_NAME}"
    assert "Validation" in texts((run.path / newest).read_bytes())
    assert not list(second.pictures.glob(".*"))


def test_an_evaluation_has_none(run: RunDirectory) -> None:
    attempt = add_attempt(run)
    tell(attempt, told(1, 3.0))
    evaluation = {"checkpoints": ["job:1"]}
    spec = SPEC.model_dump() | {"kind": "evaluate", "evaluation": evaluation}
    Curves(attempt, JobSpec.model_validate(spec)).draw()
    assert curves_of(run, [1]) is None


def test_what_keeps_it_from_drawing_is_logged_once(
    run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = add_attempt(run)
    tell(attempt, told(1, 3.0))
    attempt.pictures.write_text("no folder")
    curves = Curves(attempt, SPEC)
    for _ in range(2):
        curves.draw()
    assert caplog.text.count("curves are not drawn, which harms nothing") == 1
    attempt.pictures.unlink()
    curves.draw()
    assert ET.parse(attempt.pictures / CURVES_NAME)


def test_curves_of_many_attempts_and_evaluations_are_no_larger() -> None:
    steps = range(1, 5001)
    many = Told(
        loss=[(step, 3.0) for step in steps], evaluations=[measured(step, 0.5) for step in steps]
    )
    lines = [line for panel in panels(many, results_like(SPEC)) for line in panel.lines]
    assert {len(line.points) for line in lines} == {2, MOST_POINTS}
    assert all(line.points[-1][0] == 5000 for line in lines)


def test_a_manifest_that_cannot_be_read_costs_the_published_lines_alone(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_location: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("trainer.pictures.curves.read_manifest", denied)
    attempt = add_attempt(run)
    tell(attempt, told(1, 3.0), measured(1, 0.5))
    Curves(attempt, SPEC).draw()
    assert "Top-1, centre crop" in texts((attempt.pictures / CURVES_NAME).read_bytes())


def test_published_results_are_broken_lines_as_long_as_the_run() -> None:
    ten_views = measured(20, 0.6, "ten_view")
    done = Told(loss=[(10, 3.0), (20, 2.0)], evaluations=[measured(20, 0.5), ten_views])
    rows = results_like(SPEC)
    assert {row.network for row in rows} == {"1 CNN", "Caffe's AlexNet"}
    loss, errors = panels(done, rows)
    assert [line.name for line in loss.lines] == ["Training", "Validation"]
    assert [line.name for line in errors.lines] == [
        "Top-1, centre crop",
        "Top-5, centre crop",
        "Top-1, ten views",
        "Top-5, ten views",
        "1 CNN (the paper, Table 2), ten views, top-1",
        "1 CNN (the paper, Table 2), ten views, top-5",
        "Caffe's AlexNet (Caffe's model zoo), centre crop, top-1",
        "Caffe's AlexNet (Caffe's model zoo), centre crop, top-5",
    ]
    paper = errors.lines[4]
    assert (paper.points, bool(paper.dash)) == ([(0, 0.407), (20, 0.407)], True)
    assert errors.lines[0].points == [(20, 0.5)]
    assert panels(Told(loss=[], evaluations=[ten_views]), ())[0].is_share
