import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from service.cluster.local_ray import LocalRay, LocalRayError
from service.cluster.ray_jobs import RayUnreachableError
from service.control_plane import ControlPlane
from service.reconciling.leadership import Leadership
from service.reconciling.reconciler import Reconciler
from service.settings import Settings, SettingsError
from service.steady_clock import PROCESS_CLOCK
from service.store.attempts import note_verdict
from service.store.leases import read_lease, take_lease
from service.store.store import Store
from tests.unit.service.conftest import job_in, now, wait_until
from tests.unit.service.world import World
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Status


@pytest.mark.slow
def test_the_second_leads_when_the_first_has_stopped(settings: Settings) -> None:
    first, second = ControlPlane(settings, token=None), ControlPlane(settings, token=None)
    first.start()
    second.start()
    assert first.is_leader
    assert not second.is_leader
    assert second.health().leader.startswith(settings.advertised_url)
    first.stop()
    wait_until(lambda: second.is_leader)
    second.stop()


def test_the_loop_outlives_what_it_did_not_foresee(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = []

    def fail(_reconciler: Reconciler, _ray: object) -> None:
        ticks.append(1)
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(Reconciler, "tick", fail)
    plane = ControlPlane(settings, token=None)
    plane.start()

    def ticked() -> bool:
        plane.wake()
        return len(ticks) > 2

    wait_until(ticked)
    plane.stop()


def test_one_whose_reconciler_hangs_lets_another_lead_and_ends_when_it_is_told_to(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.reconciling.activity.STUCK_AFTER_S", 0.2)
    monkeypatch.setattr("service.control_plane.STOP_PATIENCE_S", 0.1)
    monkeypatch.setattr("service.reconciling.leadership.is_gone", lambda _: False)
    disk, hangs = threading.Event(), threading.Event()

    def hang(_reconciler: Reconciler, _ray: object) -> None:
        hangs.set()
        disk.wait(30)

    short = settings.model_copy(update={"lease_s": 0.5})
    first, second = ControlPlane(short, token=None), ControlPlane(short, token=None)
    with monkeypatch.context() as hanging:
        hanging.setattr(Reconciler, "tick", hang)
        first.start()
        assert hangs.wait(30)
    wait_until(lambda: first.health().is_stuck)
    assert not first.health().is_ready
    assert first.step_age_s() > 0.2
    second.start()
    wait_until(lambda: second.is_leader)
    first.stop()
    assert first._thread.is_alive()
    disk.set()
    first._thread.join()
    second.stop()


def test_one_that_hangs_and_was_overtaken_leaves_its_ray_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.reconciling.activity.STUCK_AFTER_S", 0.2)
    monkeypatch.setattr("service.control_plane.STOP_PATIENCE_S", 0.1)
    monkeypatch.setattr("service.reconciling.leadership.is_gone", lambda _: False)
    stopped = []
    monkeypatch.setattr(LocalRay, "stop", lambda _: stopped.append(1))
    settings = Settings(state_dir=tmp_path, ray_address=None).model_copy(update={"lease_s": 0.5})
    first, second = ControlPlane(settings, token=None), ControlPlane(settings, token=None)
    with _hanging(first, monkeypatch):
        assert first._local.ownership.is_held
        wait_until(second.leadership.try_to_take)
        wait_until(lambda: not first.leadership.is_kept)
        # Though it goes on hanging.
        assert second._local.ownership.acquire()
        first.stop()
        assert first._thread.is_alive()
        assert stopped == []
    second.stop()


def test_a_stop_while_the_reconciler_is_long_about_one_job_counts_against_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.control_plane.STOP_PATIENCE_S", 0.1)
    stopped = []
    monkeypatch.setattr(LocalRay, "stop", lambda _: stopped.append(1))
    settings = Settings(state_dir=tmp_path, ray_address=None)
    plane = ControlPlane(settings, token=None)
    plane.try_to_lead()
    jobs = {
        "runs": Status.RUNNING,
        "starts": Status.STARTING,
        "cancelled": Status.CANCELLING,
        "hung": Status.RUNNING,
    }
    for name, status in jobs.items():
        job_in(plane.store, status, name)
        plane.store.note_submitted(name, 1, now())
    hung = Outcome(outcome="failed", reason=Reason.HUNG)
    plane.store.write(lambda connection: note_verdict(connection, "hung", 1, hung))
    with _hanging(plane, monkeypatch):
        plane.stop()
        assert plane._thread.is_alive()
    assert stopped == [1]
    with closing(Store(settings.store_url)) as store:
        world = World(tmp_path, store)
        world.now = now()
        for name in jobs:
            world.folder(job_id=name).path.mkdir(parents=True)
        world.tick()
        for name in ("runs", "starts"):
            assert store.job(name).num_failures == 0
            ended = store.attempt(name, 1).outcome
            assert ended is not None
            assert ended.reason is Reason.INTERRUPTED
        assert store.job("cancelled").status is Status.CANCELLED
        # What it was stopped for before still counts.
        assert store.job("hung").num_failures == 1


def test_a_stop_of_which_rays_processes_do_not_end_in_time_counts_against_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: LocalRay) -> bool:
        raise LocalRayError("processes do not end")

    monkeypatch.setattr(LocalRay, "stop", fail)
    settings = Settings(state_dir=tmp_path, ray_address=None)
    plane = ControlPlane(settings, token=None)
    plane.try_to_lead()
    job_in(plane.store, Status.RUNNING, "runs")
    plane.store.note_submitted("runs", 1, now())
    with pytest.raises(LocalRayError):
        plane.stop()
    with closing(Store(settings.store_url)) as store:
        world = World(tmp_path, store)
        world.now = now()
        world.folder(job_id="runs").path.mkdir(parents=True)
        world.tick()
        ended = store.attempt("runs", 1).outcome
        assert ended is not None
        assert ended.reason is Reason.INTERRUPTED


def test_a_stop_leaves_the_local_ray_to_a_thread_that_hangs_at_work_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalRay, "stop", lambda _: None)
    settings = Settings(state_dir=tmp_path, ray_address=None)
    plane, following = ControlPlane(settings, token=None), ControlPlane(settings, token=None)
    plane.try_to_lead()
    assert plane._local.ownership.acquire()
    with plane._local.ownership.in_use():
        plane.stop()
        assert not following._local.ownership.acquire()
        assert not plane._local.ownership.acquire()
    assert following._local.ownership.acquire()
    following.stop()


def test_one_that_hangs_and_finds_itself_overtaken_as_it_stops_leaves_its_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.control_plane.STOP_PATIENCE_S", 0.1)
    # It does not hear of it before.
    monkeypatch.setattr(Leadership, "_keep", lambda _: None)
    monkeypatch.setattr("service.reconciling.leadership.is_gone", lambda _: True)
    stopped = []
    monkeypatch.setattr(LocalRay, "stop", lambda _: stopped.append(1))
    settings = Settings(state_dir=tmp_path, ray_address=None)
    first, second = ControlPlane(settings, token=None), ControlPlane(settings, token=None)
    with _hanging(first, monkeypatch):
        second.try_to_lead()
        assert first.leadership.is_kept
        first.stop()
    assert stopped == []
    assert second._local.ownership.acquire()
    second.stop()


def test_a_stop_waits_for_no_store_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.control_plane.STOP_PATIENCE_S", 0.1)
    monkeypatch.setattr("service.reconciling.interruption.PATIENCE_S", 0.1)
    stopped = []
    monkeypatch.setattr(LocalRay, "stop", lambda _: stopped.append(1))
    plane = ControlPlane(Settings(state_dir=tmp_path, ray_address=None), token=None)
    disk = threading.Event()
    with _hanging(plane, monkeypatch):
        monkeypatch.setattr(plane.store, "write", lambda _: disk.wait(30))
        plane.stop()
        assert not disk.is_set()
        disk.set()
    assert stopped == [1]


@contextmanager
def _hanging(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start one that owns its Ray and whose reconciler then hangs."""
    disk, hangs = threading.Event(), threading.Event()

    def own(ray: LocalRay) -> None:
        assert ray.ownership.acquire()
        raise RayUnreachableError("it is pretended")

    def hang(_reconciler: Reconciler, _ray: object) -> None:
        hangs.set()
        disk.wait(30)

    with monkeypatch.context() as hanging:
        hanging.setattr(LocalRay, "jobs", own)
        hanging.setattr(Reconciler, "tick", hang)
        plane.start()
        assert hangs.wait(30)
    try:
        yield
    finally:
        plane.begin_stop()
        disk.set()
        plane._thread.join()


def test_one_that_cannot_open_the_store_does_not_keep_another_from_leading(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ControlPlane(settings, token=None), ControlPlane(settings, token=None)

    def fail() -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(first.store, "migrate", fail)
    with pytest.raises(RuntimeError, match="disk is full"):
        first.try_to_lead()
    assert not first.leadership.is_kept
    second.try_to_lead()
    assert second.is_leader
    second.stop()
    first.stop()


def test_the_ray_of_another_control_plane_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Settings(state_dir=tmp_path, ray_address=None)
    second = first.model_copy(update={"store_url": f"sqlite:///{tmp_path / 'second.db'}"})
    owner, other = ControlPlane(first, token=None), ControlPlane(second, token=None)
    stopped = []
    monkeypatch.setattr(LocalRay, "stop", lambda _: stopped.append("owner's"))
    for plane in (owner, other):
        plane.try_to_lead()
        assert plane.is_leader
    ray = LocalRay(tmp_path, url="http://owner", num_cpus=None, num_gpus=None)
    assert ray.ownership.acquire()
    other.stop()
    assert stopped == []
    ray.ownership.release()
    owner.stop()
    assert stopped == ["owner's"]


@pytest.mark.parametrize("setting", ["state_dir", "run_root"])
def test_a_folder_that_cannot_be_used_is_named(settings: Settings, setting: str) -> None:
    file = settings.state_dir.with_name("a-file")
    file.touch()
    wrong = settings.model_copy(update={setting: file})
    with pytest.raises(SettingsError, match=f"ALEXNET_{setting.upper()}: .*a-file"):
        ControlPlane(wrong, token=None)


def test_one_that_lost_its_lease_lets_go_of_its_local_ray_and_stands_by(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, ray_address=None, lease_s=1)
    plane = ControlPlane(settings, token=None)
    plane.try_to_lead()
    assert plane._local.ownership.acquire()

    def take(connection: Connection) -> int | None:
        seen = read_lease(connection)
        clock = PROCESS_CLOCK.read()
        return take_lease(connection, seen, holder="b", url="http://b", duration_s=60, clock=clock)

    with closing(Store(settings.store_url)) as store:
        assert store.write(take) == 2
    wait_until(lambda: not plane.leadership.is_kept)
    plane._stand_by()
    assert not plane.is_leader
    assert plane.health().leader == "http://b (process b)"
    assert not plane._local.ownership.is_held
    plane.stop()
