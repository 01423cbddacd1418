"""Where a service may listen; stopping what a killed control plane left behind."""

import gc
import resource
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from uvicorn import Server

from service.access.caller import Role
from service.cluster.local_ray import LocalRay
from service.connections import BoundedServer
from service.control_plane import ControlPlane
from service.serve import listen, serve, stop_leftover_ray
from service.settings import Settings, SettingsError
from tests.unit.service.conftest import free_port, job_in, serving, wait_until
from tests.unit.service.guarded import add_token
from tests.waiting import ANSWERED_WITHIN_S
from trainer.contract.status import Status


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
    # It does not hold the lock afterwards.
    assert owner.ownership.acquire()
    owner.ownership.release()


def test_what_is_there_when_it_begins_to_serve_is_not_searched_for_garbage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    monkeypatch.setattr(ControlPlane, "start", lambda _plane: None)
    monkeypatch.setattr(Server, "run", lambda *_, **__: kept.append(gc.get_freeze_count()))
    settings = Settings(state_dir=tmp_path, port=free_port(), ray_address="http://127.0.0.1:9")
    before = gc.get_freeze_count()
    try:
        serve(settings, Console(), until_stdin_closes=False)
    finally:
        gc.unfreeze()
    assert kept[0] > before


@pytest.mark.parametrize(
    ("num_files", "max_open"), [(1024, 768), (10_000, 5000), (resource.RLIM_INFINITY, 5000)]
)
def test_connections_are_as_many_as_the_settings_and_the_files_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_files: int, max_open: int
) -> None:
    found: list[int] = []

    def run(server: BoundedServer, **_: object) -> None:
        found.append(server.server_state.bounds.max_open)

    monkeypatch.setattr(ControlPlane, "start", lambda _plane: None)
    monkeypatch.setattr(BoundedServer, "run", run)
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (num_files, num_files))
    settings = Settings(
        state_dir=tmp_path,
        port=free_port(),
        ray_address="http://127.0.0.1:9",
        max_connections=5000,
    )
    serve(settings, Console(), until_stdin_closes=False)
    assert found == [max_open]


class ListeningError(Exception):
    """It went so far as to listen and start."""


@pytest.mark.parametrize(
    ("changes", "starts_open"),
    [
        ({}, True),
        ({"trusted_proxies": ("127.0.0.1",)}, False),
        ({"host": "0.0.0.0"}, False),
        ({"allowed_hosts": ("alexnet.example.org",)}, False),
        ({"host": "0.0.0.0", "trusted_network": True}, True),
    ],
)
def test_where_others_could_reach_it_it_starts_with_a_token_only(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    *,
    starts_open: bool,
) -> None:
    def start(_plane: ControlPlane) -> None:
        raise ListeningError

    monkeypatch.setattr(ControlPlane, "start", start)
    settings = Settings(
        state_dir=tmp_path, port=free_port(), ray_address="http://127.0.0.1:9", **changes
    )
    if not starts_open:
        with pytest.raises(SettingsError, match="alexnet tokens create"):
            serve(settings, Console(), until_stdin_closes=False)
        plane = ControlPlane(settings, token=None)
        plane.try_to_lead()
        add_token(plane, "root", Role.ADMIN)
        plane.stop()
    with pytest.raises(ListeningError):
        serve(settings, Console(), until_stdin_closes=False)


def test_without_a_token_it_warns_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ControlPlane, "start", ControlPlane.try_to_lead)
    monkeypatch.setattr(BoundedServer, "run", lambda *_, **__: None)
    settings = Settings(state_dir=tmp_path, port=free_port(), ray_address="http://127.0.0.1:9")
    serve(settings, Console(), until_stdin_closes=False)
    assert caplog.text.count("alexnet tokens create") == 1
    caplog.clear()
    plane = ControlPlane(settings, token=None)
    plane.try_to_lead()
    add_token(plane, "root", Role.ADMIN)
    plane.stop()
    serve(settings, Console(), until_stdin_closes=False)
    assert "tokens create" not in caplog.text


def test_a_client_that_takes_nothing_of_what_it_asked_for_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.serve.TAKES_NOTHING_S", 5)
    settings = Settings(
        state_dir=tmp_path, ray_address="http://127.0.0.1:9", port=free_port(), max_downloads=1
    )
    plane = ControlPlane(settings, token=None)
    plane.try_to_lead()
    job_in(plane.store, Status.QUEUED, "a")
    run = settings.run_root / "a"
    run.mkdir()
    with (run / "large.bin").open("wb") as file:
        file.truncate(1 << 26)
    path = "/jobs/a/artifacts/large.bin"
    address = settings.host, settings.port
    with (
        listen(settings) as listener,
        serving(plane, listener=listener) as url,
        socket.create_connection(address) as idle,
    ):
        idle.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert idle.recv(12) == b"HTTP/1.1 200", "it has the one slot"
        wait_until(
            lambda: (
                httpx.get(
                    url + path, headers={"Range": "bytes=0-0"}, timeout=ANSWERED_WITHIN_S
                ).is_error
            )
        )
        # It is still connected, as far as it knows, and has the one slot no longer.
        wait_until(
            lambda: (
                httpx.get(
                    url + path, headers={"Range": "bytes=0-0"}, timeout=ANSWERED_WITHIN_S
                ).is_success
            ),
            timeout_s=60,
        )
    plane.stop()


def test_an_answer_is_sent_at_once_though_its_head_is_not_acknowledged(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, port=free_port())
    with (
        listen(settings) as listener,
        socket.create_connection((settings.host, settings.port)),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
