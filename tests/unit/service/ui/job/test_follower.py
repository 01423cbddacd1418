"""What several viewers of one job are shown, out of one read."""

import gc
from typing import Any

import pytest

from service.access.caller import EVERYONE, Caller, Role
from service.control_plane import ControlPlane
from service.store.errors import JobNotFoundError
from service.ui.job import shared
from service.ui.job.facts import State, read_findings, read_pulse, read_state
from service.ui.job.follower import Follower
from service.ui.job.live import Seen
from service.ui.job.shared import SLOW_EVERY_S, SharedJob, SharedJobs, read_overview
from tests.unit.service.conftest import bring_to, job_in, make_spec, now, progress, report
from trainer.contract.events import Evaluated
from trainer.contract.status import Status

ANN, BOB = (Caller(owner=name, role=Role.SUBMITTER) for name in ("ann", "bob"))


class Clock:
    """Time as a test sets it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def followed(plane: ControlPlane, job_id: str, clock: Clock) -> SharedJob:
    return SharedJob(
        pulse=lambda: read_pulse(plane, EVERYONE, job_id),
        overview=lambda: read_overview(plane, read_state(plane, EVERYONE, job_id)),
        clock=clock,
    )


def following(plane: ControlPlane, job_id: str, one: SharedJob, caller: Caller) -> Follower:
    return Follower(plane=plane, caller=caller, job_id=job_id, shared=one, attempt=None, step=None)


def look(follower: Follower) -> Seen | None:
    return follower.slow(follower.pulse())


def view(seen: Seen | None, name: str) -> Any:
    assert seen is not None
    return next(one.view for one in seen.sections if one.id == name)


def test_one_read_serves_all_and_each_has_their_own_buttons(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.store.submit("shared", make_spec(), now(), by=ANN)
    reads: list[str] = []

    def read(plane: ControlPlane, state: State) -> Any:
        reads.append(state.job.id)
        return read_findings(plane, state)

    monkeypatch.setattr(shared, "read_findings", read)
    one = followed(plane, "shared", Clock())
    ann, bob = (following(plane, "shared", one, caller) for caller in (ANN, BOB))
    acts = [view(look(follower), "head").acts for follower in (ann, bob)]
    assert reads == ["shared"]
    assert acts[0] != acts[1]
    assert (look(ann), look(bob)) == (None, None)


def test_what_happened_since_is_told_beside_what_was_read_before(plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "moves")
    report(plane.store, "moves", progress(10))
    clock = Clock()
    follower = following(plane, "moves", followed(plane, "moves", clock), EVERYONE)
    first = look(follower)
    assert first is not None
    assert first.is_current
    measured = Evaluated(step=20, epoch=2, num_samples=9, loss=1.25, top1=0.6, top5=0.8)
    report(plane.store, "moves", progress(20), measured)
    clock.now_s += 1
    second = look(follower)
    assert second is not None
    assert not second.is_current
    assert second.charts is first.charts
    assert "step 20 of" in view(second, "head").advance
    assert len(view(second, "events")) > len(view(first, "events"))
    clock.now_s += SLOW_EVERY_S
    third = look(follower)
    assert third is not None
    assert third.is_current
    assert third.charts != first.charts


def test_what_is_read_after_a_job_has_ended_says_so_throughout(plane: ControlPlane) -> None:
    job = job_in(plane.store, Status.RUNNING, "ends")
    report(plane.store, "ends", progress(10))
    follower = following(plane, "ends", followed(plane, "ends", Clock()), EVERYONE)
    pulse = follower.pulse()
    bring_to(plane.store, job, Status.SUCCEEDED)
    assert view(follower.slow(pulse), "head").state.text == "Succeeded"


def test_others_private_jobs_are_not_followed(plane: ControlPlane) -> None:
    plane.store.submit("hidden", make_spec(), now(), by=ANN, private=True)
    one = followed(plane, "hidden", Clock())
    assert look(following(plane, "hidden", one, ANN)) is not None
    with pytest.raises(JobNotFoundError):
        look(following(plane, "hidden", one, BOB))


def test_a_job_is_shared_for_as_long_as_it_is_followed(plane: ControlPlane) -> None:
    jobs = SharedJobs(plane)
    one = jobs.of("any")
    assert jobs.of("any") is one
    del one
    gc.collect()
    assert not jobs._jobs
