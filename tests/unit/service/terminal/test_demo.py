import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from service.client.client import Client
from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.terminal.demo import DemoError, DemoResult, run_demo
from service.views.jobs import JobDetail
from tests.unit.service.conftest import FIRST_ATTEMPT, job_in, now, write_manifest
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Desired, Status

Follow = Callable[[Client, str, Console], JobDetail]


@pytest.fixture
def demo(
    plane: ControlPlane, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Follow], tuple[DemoResult, str]]:
    """Run the demo among shards that are pretended and the tests' own control plane."""
    folder = data_root / "demo"
    for split in ("train", "validation"):
        write_manifest(folder / "shards" / split, split=split)

    @contextmanager
    def control_plane(_folder: Path, _console: Console) -> Iterator[Client]:
        with Client(plane.settings.advertised_url) as client:
            yield client

    monkeypatch.setattr("service.terminal.demo._step", lambda *_: None)
    monkeypatch.setattr("service.terminal.demo._control_plane", control_plane)

    def run(follow: Follow) -> tuple[DemoResult, str]:
        monkeypatch.setattr("service.terminal.demo.follow", follow)
        console = Console(width=200, file=io.StringIO(), color_system=None)
        result = run_demo(folder=folder, source=None, console=console)
        assert isinstance(console.file, io.StringIO)
        return result, console.file.getvalue()

    return run


def test_an_interrupted_demo_cancels_its_job_and_the_next_what_is_left(
    demo: Callable[[Follow], tuple[DemoResult, str]], plane: ControlPlane
) -> None:
    for status in (Status.RETRYING, Status.PAUSED, Status.SUCCEEDED):
        job_in(plane.store, status, f"left{status}")
    followed: list[str] = []

    def interrupt(_client: Client, job_id: str, _console: Console) -> JobDetail:
        assert plane.store.job(job_id).desired is Desired.RUN
        followed.append(job_id)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo(interrupt)
    desired = {job_id: plane.store.job(job_id).desired for job_id in followed}
    for status in (Status.RETRYING, Status.PAUSED, Status.SUCCEEDED):
        desired[status] = plane.store.job(f"left{status}").desired
    assert desired == {
        followed[0]: Desired.CANCEL,
        Status.RETRYING: Desired.CANCEL,
        Status.PAUSED: Desired.CANCEL,
        Status.SUCCEEDED: Desired.RUN,
    }


def test_the_log_of_a_crash_is_shown_as_it_is(
    demo: Callable[[Follow], tuple[DemoResult, str]], plane: ControlPlane
) -> None:
    message = "Traceback ...\nKeyError: '[/red] [bold] [/nothing]'"

    def crash(client: Client, job_id: str, _console: Console) -> JobDetail:
        job = plane.store.begin_attempt(plane.store.job(job_id), FIRST_ATTEMPT, now())
        failure = Outcome(outcome="failed", reason=Reason.CRASHED, message=message)
        end = Decision(status=Status.FAILED, ended=failure, message=message)
        plane.store.apply(job, end, now())
        return client.get(job_id)

    result, shown = demo(crash)
    assert message in shown
    told = json.loads(result.line().removeprefix("DEMO "))
    assert (told["status"], told["top1"], told["checkpoints"]) == ("FAILED", None, 0)


def test_two_demos_in_one_folder_are_one_too_many(
    demo: Callable[[Follow], tuple[DemoResult, str]],
) -> None:
    def again(_client: Client, _job_id: str, _console: Console) -> JobDetail:
        demo(again)
        raise AssertionError

    with pytest.raises(DemoError, match=r"another demo is running in .*--folder"):
        demo(again)
