from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings


def test_everything_lies_below_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ALEXNET_PORT", "8123")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    settings = Settings()
    assert settings.store_path == tmp_path / "state" / "store.db"
    assert settings.run_root == tmp_path / "state" / "runs"
    assert settings.data_roots == (str(Path.cwd()), str(tmp_path / "state"))
    assert settings.advertised_url == "http://127.0.0.1:8123"
    assert settings.ray_address is None


def test_ray_address_falls_back_to_rays_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    assert Settings().ray_address == "http://head:8265"
    assert Settings().attempt_python == "python"


def test_the_state_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert Settings().state_dir == tmp_path / "alexnet"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"store_url": "mysql://host/db"}, "use sqlite:////abs.*postgresql://USER"),
        ({"store_url": "postgresql+asyncpg://host/db"}, "use sqlite:////abs.*postgresql://USER"),
        ({"store_url": "store.db"}, "use sqlite:////abs.*postgresql://USER"),
        ({"store_url": "postgresql://u:secret@host"}, "names no database"),
        ({"store_url": "postgresql://u:se@cr/et@host:port/db"}, "password percent-encoded"),
        ({"store_url": "sqlite:///"}, "ALEXNET_STORE_URL: .*does not name a file"),
        ({"store_url": "sqlite:////"}, "ALEXNET_STORE_URL: .*does not name a file"),
        ({"store_url": "sqlite:////s.db?mode=ro"}, "ALEXNET_STORE_URL: .*no options"),
        ({"ray_address": "head:6379"}, "http://HOST:8265"),
        ({"grafana_url": "javascript:alert(1)"}, "ALEXNET_GRAFANA_URL: .*use http://HOST:3000"),
        ({"grafana_url": "http://"}, "ALEXNET_GRAFANA_URL"),
        ({"grafana_url": "http://host:port"}, "ALEXNET_GRAFANA_URL"),
        ({"grafana_url": "http://user:secret@host"}, "ALEXNET_GRAFANA_URL: .*without user"),
        ({"grafana_url": "http://host/?orgId=1"}, "ALEXNET_GRAFANA_URL"),
        ({"port": 0}, "greater than"),
        ({"data_roots": ()}, "at least 1 item"),
        ({"data_roots": ("http://bucket/a",)}, "'http' is not read; name a path, or a URL of s3"),
        ({"data_roots": ("s3://bucket/../a",)}, "a part that is empty"),
        ({"max_event_streams": 0}, "greater than"),
        ({"requests_per_second": 0}, "greater than"),
        ({"request_burst": 0}, "greater than"),
        ({"trusted_proxies": ("*",)}, "trusted_proxies\\s.*does not appear to be an IPv4"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_mend(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings(**fields)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_may_be_open_until_a_proxy_stands_before_it(host: str) -> None:
    assert Settings(host=host).may_be_open
    assert not Settings(host=host, trusted_proxies=("127.0.0.1",)).may_be_open


@pytest.mark.parametrize("name", ["alexnet.example.org", "*", "*.example.org", "10.1.2.3"])
def test_loopback_of_another_name_is_not_open_either(name: str) -> None:
    assert Settings(allowed_hosts=("127.0.0.1", "localhost", "[::1]")).may_be_open
    assert not Settings(allowed_hosts=("127.0.0.1", name)).may_be_open
    assert Settings(allowed_hosts=(name,), trusted_network=True).may_be_open
    assert not Settings(advertised_url=f"https://{name}:8443/alexnet").may_be_open


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "example.org"])
def test_beyond_loopback_a_network_must_be_trusted_to_be_open(host: str) -> None:
    assert not Settings(host=host).may_be_open
    assert Settings(host=host, trusted_network=True).may_be_open


def test_an_ipv6_address_is_in_brackets_in_the_url() -> None:
    assert Settings(host="::1", port=8123).advertised_url == "http://[::1]:8123"


def test_data_may_lie_below_folders_and_urls() -> None:
    settings = Settings(data_roots=("s3://bucket/sets/", "/data"))
    assert settings.data_roots == ("s3://bucket/sets", "/data")


@pytest.mark.parametrize("start", ["http://", "https://", "ray://", ""])
def test_a_password_in_rays_address_is_refused_and_not_shown(start: str) -> None:
    for secret in ("s3cret", "s3/cret", "s3?cret", ""):
        with pytest.raises(ValidationError, match="RAY_AUTH_TOKEN") as refused:
            Settings(ray_address=f"{start}user:{secret}@host:8265")
        assert "s3" not in str(refused.value) + repr(refused.value)


def test_a_password_in_a_root_is_refused_and_not_shown() -> None:
    for secret in ("secret", "sec/ret", "sec/..", "sec?ret"):
        with pytest.raises(ValueError, match="holds credentials") as refused:
            Settings(data_roots=(f"s3://key:{secret}@bucket/a",))
        assert "sec" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("postgresql://u:secret@host:1/db?sslmode=require", "postgresql://u:***@host:1/db"),
        ("postgresql:///db?host=/run/postgresql", "postgresql:///db"),
    ],
)
def test_the_store_is_a_file_or_a_servers_and_its_password_is_never_shown(
    url: str, name: str
) -> None:
    settings = Settings(store_url=url)
    assert settings.store_name == name
    assert settings.store_path == (Path("/a/b.db") if url.startswith("sqlite") else None)
    assert "secret" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@host", "postgres://u:secret@h/d", "u:secret"]
)
def test_a_password_in_what_cannot_be_used_is_not_shown_either(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(store_url=url)
    assert "secret" not in str(caught.value) + repr(caught.value)


def test_the_address_of_grafana_has_no_slash_at_its_end() -> None:
    assert Settings().grafana_url is None
    assert Settings(grafana_url="https://host/grafana/").grafana_url == "https://host/grafana"
