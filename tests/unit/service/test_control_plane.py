import pytest

from service.control_plane import ControlPlane
from service.reconciler import Reconciler
from service.settings import Settings, SettingsError
from tests.unit.service.conftest import wait_until


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
    wait_until(lambda: plane.wake() or len(ticks) > 2)
    plane.stop()


@pytest.mark.parametrize("setting", ["state_dir", "run_root"])
def test_a_folder_that_cannot_be_used_is_named(settings: Settings, setting: str) -> None:
    file = settings.state_dir.with_name("a-file")
    file.touch()
    wrong = settings.model_copy(update={setting: file})
    with pytest.raises(SettingsError, match=f"ALEXNET_{setting.upper()}: .*a-file"):
        ControlPlane(wrong, token=None)
