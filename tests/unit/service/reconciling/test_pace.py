"""The reconciler looks often after news, and seldom when there is none."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.control_plane import LEASE_POLL_S, ControlPlane
from service.reconciling.pace import CALM_TICK_S, SETTLING_S, TICK_S, Pace, is_news
from service.settings import Settings
from tests.unit.service.conftest import progress
from trainer.contract.events import AttemptEvent, AttemptEventData, Finished, SamplesSkipped
from trainer.contract.status import Status

times = st.floats(min_value=0, max_value=1e6)


def test_without_news_it_looks_seldom() -> None:
    assert Pace().pause_s() == CALM_TICK_S > TICK_S


@given(at=times, later=times)
def test_it_looks_often_until_what_follows_from_news_has_happened(at: float, later: float) -> None:
    now_s = at
    pace = Pace(lambda: now_s)
    pace.note_news()
    assert pace.pause_s() == TICK_S
    now_s = at + later
    is_settled = now_s - at >= SETTLING_S
    assert pace.pause_s() == (CALM_TICK_S if is_settled else TICK_S)
    pace.note_news()
    assert pace.pause_s() == TICK_S


def _event(number: int, data: AttemptEventData) -> AttemptEvent:
    return AttemptEvent(number=number, at=datetime(2026, 1, 1, tzinfo=UTC), data=data)


PROGRESS = _event(1, progress(1))
SKIPPED = _event(
    2, SamplesSkipped(step=3, samples=(), reason="x", by_reason={"broken": 1}, total=1)
)


@pytest.mark.parametrize("told", [[PROGRESS], [SKIPPED], [PROGRESS, SKIPPED]])
def test_of_what_a_running_job_goes_through_only_its_beginning_and_end_are_news(
    told: list[AttemptEvent],
) -> None:
    assert is_news(told, Status.STARTING)
    assert not is_news(told, Status.RUNNING)
    finished = _event(3, Finished(outcome="paused", step=3))
    assert is_news([*told, finished], Status.RUNNING)


def test_to_tell_nothing_is_no_news() -> None:
    assert not is_news([], Status.STARTING)


def test_it_looks_often_after_news_and_while_ray_is_away_and_seldom_otherwise(
    settings: Settings,
) -> None:
    plane = ControlPlane(settings, token=None)
    assert plane._pause_s() == LEASE_POLL_S
    plane.try_to_lead()
    assert plane._pause_s() == TICK_S
    plane._note_ray(None)
    assert plane._pause_s() == CALM_TICK_S
    plane.wake()
    assert plane._pause_s() == TICK_S
    plane.stop()
