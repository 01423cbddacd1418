import io
import json

import pytest
from rich.console import Console

from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.terminal.cli import main
from service.terminal.history import history_table
from service.views.history import MetricHistory
from tests.unit.service.conftest import job_in, now, progress, report
from trainer.contract.attempt import Outcome
from trainer.contract.events import Evaluated
from trainer.contract.status import Status

EVALUATED = Evaluated(step=20, epoch=2.0, num_samples=9, loss=1.25, top1=0.875, top5=0.99)


@pytest.fixture(scope="module")
def told(plane: ControlPlane) -> str:
    """Give a job that has ended after 40 steps."""
    job_in(plane.store, Status.RUNNING, "told")
    report(plane.store, "told", *(progress(step, loss=100 / step) for step in range(1, 41)))
    report(plane.store, "told", EVALUATED)
    done = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    plane.store.apply(plane.store.job("told"), done, now())
    return "told"


def printed(
    plane: ControlPlane, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--url", plane.settings.advertised_url])
    assert isinstance(end.value.code, int | None)
    return end.value.code or 0, capsys.readouterr().out


def test_history_is_a_table_of_few_rows(
    plane: ControlPlane, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = printed(plane, capsys, "history", told, "--points", "4")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["STEP", "EPOCH", "LOSS", "IMAGES/S"]
    assert [line[0] for line in lines[1:5]] == ["10", "20", "30", "40"]
    assert lines[-2][-1] == "PROTOCOL"
    assert lines[-1][:5] == ["20", "2.00", "1.2500", "87.50%", "99.00%"]


def test_history_as_json_has_extremes_too(
    plane: ControlPlane, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--json", "--from", "11", "--to", "20", "--points", "1")
    code, out = printed(plane, capsys, "history", told, *options)
    assert code == 0
    (point,) = MetricHistory.model_validate_json(out).points
    assert (point.first_step, point.step) == (11, 20)
    assert (point.values["loss"].min, point.values["loss"].max) == (5.0, 100 / 11)


def test_without_evaluations_there_is_one_table() -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(history_table(MetricHistory(points=(), evaluations=())))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().split() == ["STEP", "EPOCH", "LOSS", "IMAGES/S"]


def test_watching_as_json_is_a_line_for_each_event_and_for_progress(
    plane: ControlPlane, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = printed(plane, capsys, "watch", told, "--json")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line.get("number") for line in lines] == [1, 2, 3, 4, None, 5]
    assert lines[-2]["progress"]["step"] == 40
    assert lines[-1]["data"]["after"] == "SUCCEEDED"
