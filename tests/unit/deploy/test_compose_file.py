"""docker-compose.yml: what it publishes, shares and pins."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[3]
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_ports_are_published_on_loopback_only_and_ray_s_nowhere() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"control-plane", "prometheus", "grafana"}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)


def test_environment_of_the_control_plane_is_made_of_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = SERVICES["control-plane"]["environment"]
    names = {key.removeprefix("ALEXNET_").lower() for key in given if key.startswith("ALEXNET_")}
    assert names <= Settings.model_fields.keys()
    for key, value in given.items():
        # As the engine fills it in where nothing else is set.
        monkeypatch.setenv(key, re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value))
    settings = Settings()
    assert settings.grafana_url == "http://127.0.0.1:3000"
    assert settings.data_roots == ("/data",)
    assert settings.advertised_url == f"http://control-plane:{settings.port}"


def test_token_of_ray_reaches_the_control_plane_and_ray_alone() -> None:
    holders = {
        name
        for name, service in SERVICES.items()
        if any(volume.startswith("ray-auth:") for volume in service["volumes"])
    }
    assert holders == {"control-plane", "ray-head", "ray-worker"}
    for name in holders:
        assert SERVICES[name]["environment"]["RAY_AUTH_MODE"] == "token"


def test_run_and_data_folders_are_the_same_for_all_who_use_them() -> None:
    mounts = [
        set(SERVICES[name]["volumes"]) for name in ("control-plane", "ray-head", "ray-worker")
    ]
    assert {"runs:/runs", "data:/data"} <= set.intersection(*mounts)


def test_images_of_others_are_pinned() -> None:
    for service in SERVICES.values():
        if "build" not in service:
            _, _, tag = service["image"].partition(":")
            assert tag[:1] in "v123456789"
            assert tag.count(".") == 2


def test_every_service_that_stays_up_has_a_health_check() -> None:
    unchecked = {name for name, service in SERVICES.items() if "healthcheck" not in service}
    assert unchecked == {"demo-data"}


def test_every_container_is_confined() -> None:
    for service in SERVICES.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_both_images_run_as_an_ordinary_user() -> None:
    stages = (REPOSITORY / "deploy/Dockerfile").read_text().split("\nFROM ")
    for name in ("control-plane", "worker"):
        [stage] = [stage for stage in stages if f" AS {name}\n" in stage]
        assert "\nUSER alexnet\n" in stage


def test_every_volume_is_declared_and_used() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert {name for name in used if not name.startswith(".")} == COMPOSE["volumes"].keys()
