"""What the table says of a job."""

from dataclasses import replace

import pytest

from service.access.caller import EVERYONE, Caller, Role
from service.jobs.records import JobRecord
from service.store.store import Store
from service.ui.rows import acts_on, job_row
from service.ui.states import shown
from tests.unit.service.conftest import job_in, progress, report
from trainer.contract.events import Evaluated
from trainer.contract.status import Desired, Status

ANN = Caller(owner="ann", role=Role.SUBMITTER)


def test_a_running_job_tells_how_far_and_how_fast(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs")
    measured = Evaluated(step=40, epoch=4, num_samples=9, loss=1.0, top1=0.6, top5=0.8)
    report(store, "runs", progress(50, loss=1.25), measured)
    row = job_row(store.job("runs"), EVERYONE, "0,1 2,3")
    assert (row.fraction, row.step, row.planned_steps, row.epoch) == (0.5, 50, 100, 5.0)
    assert (row.images_per_second, row.eta_s) == (100.0, 64.0)
    assert (row.top1, row.loss, row.spark) == (0.6, 1.25, "0,1 2,3")
    assert row.is_live


def test_a_job_that_does_not_run_has_neither_a_rate_nor_an_end(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs")
    report(store, "runs", progress(50))
    row = job_row(replace(store.job("runs"), status=Status.PAUSED), EVERYONE)
    assert (row.images_per_second, row.eta_s) == (None, None)
    assert row.fraction == 0.5


def test_before_the_first_step_nothing_is_made_up(store: Store) -> None:
    row = job_row(job_in(store, Status.QUEUED, "new"), EVERYONE)
    told = (row.fraction, row.step, row.epoch, row.eta_s, row.top1, row.loss)
    assert told == (None,) * 6


@pytest.mark.parametrize("status", Status)
def test_every_state_has_a_word_and_a_symbol(status: Status) -> None:
    assert shown(status).text.upper() == status


@pytest.mark.parametrize("status", Status)
def test_only_what_the_job_still_takes_is_offered(store: Store, status: Status) -> None:
    job = job_in(store, status, "one")
    acts = acts_on(job, EVERYONE)
    assert acts.clone
    if job.is_terminal:
        assert (acts.pause, acts.resume, acts.cancel) == (False, False, False)
        return
    assert acts.cancel is (status is not Status.CANCELLING)
    assert not (acts.pause and acts.resume)
    if acts.pause:
        assert store.ask("one", Desired.PAUSE).desired is Desired.PAUSE


def test_what_was_paused_can_be_resumed(store: Store) -> None:
    assert acts_on(
        replace(job_in(store, Status.QUEUED, "p"), desired=Desired.PAUSE), EVERYONE
    ).resume


def test_viewers_are_offered_nothing_and_submitters_what_is_theirs(store: Store) -> None:
    foreign = job_in(store, Status.RUNNING, "foreign")
    own = replace(foreign, owner="ann")
    assert not acts_on(own, Caller(owner="ann", role=Role.VIEWER)).any
    assert acts_on(own, ANN).cancel
    assert not acts_on(foreign, ANN).cancel
    assert acts_on(foreign, ANN).clone


def wishing(job: JobRecord, desired: Desired) -> str:
    return job_row(replace(job, desired=desired, message=None), EVERYONE).note


def test_a_wish_that_nothing_has_become_of_is_told(store: Store) -> None:
    job = job_in(store, Status.RUNNING, "runs")
    assert wishing(job, Desired.RUN) == ""
    assert wishing(job, Desired.PAUSE) == "to be paused"
    assert wishing(job, Desired.CANCEL) == "to be cancelled"
    assert wishing(replace(job, status=Status.PAUSING), Desired.PAUSE) == ""
