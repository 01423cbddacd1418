"""What the head of the page says of a job."""

from service.access.caller import EVERYONE
from service.store.store import Store
from service.ui.job.head import head
from tests.unit.service.conftest import job_in, progress, report
from trainer.contract.events import Evaluated
from trainer.contract.status import Status


def test_a_running_job_tells_how_far_it_is_and_what_limits_it(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs")
    measured = Evaluated(step=40, epoch=4, num_samples=9, loss=1.0, top1=0.6, top5=0.8)
    phases = {"forward": 0.5, "data_wait": 0.5}
    report(store, "runs", progress(50, phase_seconds=phases), measured)
    told = head(store.job("runs"), EVERYONE)
    assert (told.state.text, told.fraction) == ("Running", 0.5)
    assert told.advance == "step 50 of 100, epoch 5.00"
    assert {figure.name: figure.value for figure in told.figures} == {
        "Time left": "1 min",
        "Images/s": "100",
        "Loss": "1.5",
        "Learning rate ε": "0.01",
        "Top-1 error": "40.0 %",
        "Top-5 error": "20.0 %",
    }
    assert told.limit.startswith("waiting on data 50 % of the step: raise data.")


def test_a_job_that_waits_tells_no_figures_that_there_are_not(store: Store) -> None:
    told = head(job_in(store, Status.QUEUED, "waits"), EVERYONE)
    assert [figure.value for figure in told.figures] == ["–"]
    assert (told.fraction, told.advance, told.limit) == (None, "", "")


def test_what_has_ended_is_limited_by_nothing(store: Store) -> None:
    job_in(store, Status.RUNNING, "paused")
    report(store, "paused", progress(50, data_wait_ratio=0.9))
    told = head(store.job("paused"), EVERYONE)
    assert told.limit
    done = job_in(store, Status.SUCCEEDED, "done")
    ended = head(done, EVERYONE)
    assert (ended.limit, ended.acts.cancel) == ("", False)
    assert [figure.name for figure in ended.figures] == ["From start to end"]
