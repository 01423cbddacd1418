from dataclasses import replace
from datetime import timedelta

import pytest

from service.jobs.silence import Patience, overdue
from tests.unit.service.conftest import make_spec
from tests.unit.service.jobs.records import attempt, job
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Status

PATIENCE = Patience(start=timedelta(seconds=100), silence=timedelta(seconds=10))


def _heard(*, begun: bool, seconds: float, **retry: object) -> Outcome | None:
    some_job = replace(job(), spec=make_spec(retry=retry))
    silent = timedelta(seconds=seconds)
    return overdue(some_job, attempt(), has_begun=begun, silent_for=silent, patience=PATIENCE)


@pytest.mark.parametrize(("begun", "limit_s"), [(False, 100), (True, 10)])
def test_silence_is_borne_for_so_long(begun: bool, limit_s: float) -> None:
    assert _heard(begun=begun, seconds=limit_s - 0.1) is None
    outcome = _heard(begun=begun, seconds=limit_s)
    assert outcome is not None
    assert outcome.reason is Reason.HUNG
    assert f"{limit_s} s" in str(outcome.message)


@pytest.mark.parametrize("events_through", [0, 1])
def test_a_silence_before_the_first_report_is_one_of_the_start(events_through: int) -> None:
    silent = attempt(events_through=events_through)
    outcome = overdue(job(), silent, has_begun=True, silent_for=PATIENCE.silence, patience=PATIENCE)
    assert outcome is not None
    assert (" s in its start, so" in str(outcome.message)) == (events_through == 0)


def test_who_wants_nobody_to_look_for_hangs_is_obeyed_once_it_has_begun() -> None:
    assert _heard(begun=True, seconds=1e6, hang_factor=None) is None
    assert _heard(begun=False, seconds=1e6, hang_factor=None) is not None


@pytest.mark.parametrize("begun", [False, True])
def test_a_pause_waits_for_no_first_sign_of_life(begun: bool) -> None:
    pausing = job(status=Status.PAUSING)
    silent = timedelta(0)
    outcome = overdue(pausing, attempt(), has_begun=begun, silent_for=silent, patience=PATIENCE)
    assert outcome == (None if begun else Outcome(outcome="paused"))
