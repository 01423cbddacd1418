"""Stopping what a killed control plane left behind."""

from pathlib import Path

import pytest

from service.cluster.local_ray import LocalRay
from service.reconciling.leadership import Leadership
from service.serve import stop_leftover_ray
from service.settings import Settings, SettingsError


def test_the_ray_of_a_control_plane_that_leads_another_store_is_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where ALEXNET_STORE_URL was set for `alexnet serve` and not for `alexnet stop`.
    owner = LocalRay(tmp_path, url="http://owner", num_cpus=None, num_gpus=None)
    assert owner.ownership.acquire()
    settings = Settings(state_dir=tmp_path, ray_address=None)
    stopped: list[LocalRay] = []

    def stop(ray: LocalRay) -> bool:
        stopped.append(ray)
        return True

    monkeypatch.setattr(LocalRay, "stop", stop)
    with pytest.raises(SettingsError, match="a control plane runs: http://owner"):
        stop_leftover_ray(settings)
    assert stopped == []
    owner.ownership.release()
    assert stop_leftover_ray(settings)
    assert len(stopped) == 1
    # It holds no lock of them afterwards.
    leadership = Leadership(settings.store_path, url="http://next")
    for lock in (owner.ownership, leadership):
        assert lock.acquire()
        lock.release()
