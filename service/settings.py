"""What an operator can set: environment variables ALEXNET_NAME, or `alexnet serve` options."""

import ipaddress
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from data_shards.storage.location import is_url
from service.errors import UserError
from service.loopback import is_loopback
from service.scheduling.queue import QueuePolicy
from trainer.contract.confinement import plain_url

_SQLITE = "sqlite:///"


class SettingsError(UserError, ValueError):
    """A setting cannot be used; the message names it and what to do."""


def _default_state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "alexnet"


def _default_url(data: Mapping[str, Any]) -> str:
    host = data["host"]
    return f"http://{f'[{host}]' if ':' in host else host}:{data['port']}"


def _default_store_url(data: Mapping[str, Any]) -> str:
    return f"sqlite:///{data['state_dir'] / 'store.db'}"


class Settings(BaseSettings):
    """Settings of one control plane."""

    model_config = SettingsConfigDict(
        env_prefix="ALEXNET_",
        frozen=True,
        extra="forbid",
        validate_default=True,
        # One may hold a password.
        hide_input_in_errors=True,
    )

    state_dir: Path = Field(
        default_factory=_default_state_dir, description="Where everything of this service lies."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=1, le=65_535, description="Port to listen on.")
    trusted_network: bool = Field(
        default=False,
        description="While there are no tokens, who can reach `host` may do everything; without "
        "it, a service that listens beyond loopback, or has other names, starts with a token only.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(),
        description="Addresses or networks of reverse proxies, whose X-Forwarded-For is believed; "
        "with any, tokens are always asked for.",
    )
    requests_per_second: float | None = Field(
        default=200.0,
        gt=0,
        description="Taken of one token, or of one address that sends none. None: any number.",
    )
    request_burst: int = Field(
        default=1000, ge=1, description="Requests taken of one sender at once, after a pause."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=("127.0.0.1", "localhost", "[::1]"),
        description="Host headers that are answered, without port; *.example.org is a wildcard.",
    )
    advertised_url: str = Field(
        default_factory=_default_url, description="How attempts reach this control plane."
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description="Connections open at once; fewer where `ulimit -n` is not 256 above it. Beyond "
        "them those are ended that wait with their requests.",
    )
    max_event_streams: int = Field(
        default=100,
        ge=1,
        description="Event streams open at once; each reads the store four times a second.",
    )
    max_downloads: int = Field(
        default=50, ge=1, description="Files of run directories that are sent at once."
    )
    max_open_per_sender: int = Field(
        default=25,
        ge=1,
        description="Event streams, and downloads, that one token may have open; while no tokens "
        "are asked for, there is no such bound.",
    )
    store_url: str = Field(
        default_factory=_default_store_url,
        repr=False,
        description="SQLite file, or postgresql://USER:PASSWORD@HOST/DATABASE.",
    )
    lease_s: float = Field(
        default=5.0,
        ge=1,
        le=600,
        description="A leader that does not renew its lease for so long is replaced by a standby.",
    )
    run_root: Path = Field(
        default_factory=lambda data: data["state_dir"] / "runs",
        description="Run directories; a path that every worker shares.",
    )
    data_roots: tuple[str, ...] = Field(
        default_factory=lambda data: (str(Path.cwd()), str(data["state_dir"])),
        min_length=1,
        description="What manifests and shards may lie below: folders, and URLs of object stores "
        "such as s3://bucket/prefix.",
    )
    max_points: int = Field(
        default=20_000,
        ge=100,
        description="Points of the history by step that are kept of a job once it has ended.",
    )
    full_history_days: float = Field(
        default=90.0,
        ge=0,
        le=36_500,
        description="So long after its end a job's history is cut down to `old_points`.",
    )
    old_points: int = Field(
        default=1_000, ge=100, description="Points that are kept of jobs that ended long ago."
    )
    idempotency_key_hours: float = Field(
        default=7 * 24.0,
        ge=24,
        le=24 * 366,
        description="So long a request that is sent again with its Idempotency-Key makes no other "
        "job.",
    )
    start_timeout_s: float = Field(
        default=900.0,
        ge=1,
        le=86_400,
        description="An attempt that gives no sign of life so long after Ray took it is ended.",
    )
    silence_timeout_s: float = Field(
        default=120.0,
        ge=15,
        le=86_400,
        description="An attempt that gives none for so long later on is ended; it gives one every "
        "few seconds, unless a process of it is frozen.",
    )
    webhook_networks: tuple[str, ...] = Field(
        default=(),
        description="Networks beside the public ones that webhooks may be sent to, such as "
        "10.0.0.0/8; those of loopback also by http.",
    )
    ray_address: str | None = Field(
        default_factory=lambda: os.environ.get("RAY_ADDRESS"),
        description="Ray's dashboard, http://HOST:8265. None: a local Ray of our own.",
    )
    worker_python: str = Field(
        default="python", description="Python of the Ray nodes; a local Ray uses the service's."
    )
    local_ray_cpus: int | None = Field(
        default=None, ge=1, description="CPUs the local Ray has. None: the machine's."
    )
    priority_ageing_s: float = Field(
        default=3600.0,
        gt=0,
        description="A job that has waited so long counts as one of the next higher priority.",
    )
    max_active_jobs: int | None = Field(
        default=100,
        ge=1,
        description="Jobs at work at once: each has a driver, a process on a node of Ray. None: "
        "any number.",
    )
    max_active_jobs_per_owner: int | None = Field(
        default=None,
        ge=1,
        description="Jobs at work at once of each owner whose quota says nothing else.",
    )
    preemption: bool = Field(
        default=False,
        description="Whether a job that does not fit may have jobs of lower priority pause at "
        "their next step, to go on later.",
    )
    local_ray_gpus: int | None = Field(
        default=None, ge=0, description="GPUs the local Ray has. None: those it finds."
    )
    local_ray_metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port on loopback where Prometheus finds the local Ray's metrics, and those of "
        "the jobs in it. None: any free one.",
    )
    grafana_url: str | None = Field(
        default=None,
        description="Where browsers reach a Grafana with deploy/grafana's dashboards, for a link "
        "on each job's page: http://HOST:3000. None: no link.",
    )
    local_ray_warm: bool = Field(
        default=True,
        description="Whether the local Ray keeps a process that has imported torch, some 650 MB, "
        "of which its others are forks that start in a fraction of the time.",
    )

    @field_validator("state_dir", "run_root")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @field_validator("trusted_proxies", "webhook_networks")
    @classmethod
    def _all_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            # As uvicorn reads them, but for `*`, which would believe anyone of any address.
            ipaddress.ip_network(network)
        return networks

    @field_validator("grafana_url")
    @classmethod
    def _a_page(cls, url: str | None) -> str | None:
        return None if url is None else page_address(url)

    @field_validator("data_roots", mode="before")
    @classmethod
    def _as_text(cls, roots: object) -> object:
        return tuple(map(str, roots)) if isinstance(roots, list | tuple) else roots

    @field_validator("data_roots")
    @classmethod
    def _all_plain(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            plain_url(root) if is_url(root) else str(Path(root).expanduser().absolute())
            for root in roots
        )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        check_store_url(self.store_url)
        if self.ray_address is not None:
            check_ray_address(self.ray_address)
        return self

    @property
    def may_be_open(self) -> bool:
        """Whether everyone who can connect may do everything, while there are no tokens."""
        if self.trusted_proxies:
            return False
        # What has other names is reached from elsewhere, by a proxy or a tunnel.
        names = (self.host, *self.allowed_hosts, urlsplit(self.advertised_url).hostname or "")
        return self.trusted_network or all(is_loopback(name.strip("[]")) for name in names)

    @property
    def queue_policy(self) -> QueuePolicy:
        """What the queue goes by."""
        return QueuePolicy(
            ageing_s=self.priority_ageing_s,
            max_active_jobs=self.max_active_jobs,
            max_active_jobs_per_owner=self.max_active_jobs_per_owner,
            preemption=self.preemption,
        )

    @property
    def webhook_allowed(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Networks that webhooks may be sent to although they are not public."""
        return tuple(map(ipaddress.ip_network, self.webhook_networks))

    @property
    def attempt_python(self) -> str:
        """Python that attempts run under."""
        return sys.executable if self.ray_address is None else self.worker_python

    @property
    def store_path(self) -> Path | None:
        """File of the SQLite store; None: the store is a server's."""
        is_file = self.store_url.startswith(_SQLITE)
        return Path(self.store_url.removeprefix(_SQLITE)) if is_file else None

    @property
    def store_name(self) -> str:
        """The store's URL without a password, for people."""
        return make_url(self.store_url).set(query={}).render_as_string(hide_password=True)


def check_ray_address(address: str) -> None:
    """Raise SettingsError, which shows no password, for what is no address of a dashboard."""
    # A password with a slash in it would end as the path.
    if "@" in address:
        raise SettingsError(
            "ALEXNET_RAY_ADDRESS (or RAY_ADDRESS): the address holds credentials, which it would "
            "show; use http://HOST:8265 without, and give the cluster's token in RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH"
        )
    if not address.startswith(("http://", "https://")):
        raise SettingsError(
            f"ALEXNET_RAY_ADDRESS (or RAY_ADDRESS): {address!r} is not the address of a Ray "
            "dashboard; use http://HOST:8265"
        )


def page_address(url: str) -> str:
    """Return the address of a page of others, without a slash at its end.

    Raises SettingsError, which shows no password.
    """
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        # Raises ValueError for one that is none.
        _ = parts.port
    except ValueError:
        is_usable = False
    if not is_usable or any(sign in url for sign in "@?#\\\"'<> "):
        raise SettingsError(
            "ALEXNET_GRAFANA_URL: this is no address that a browser can be led to; use "
            "http://HOST:3000 or https://HOST/PATH, without user, password, ? or #"
        )
    return url.rstrip("/")


def check_store_url(url: str) -> None:
    """Raise SettingsError, which shows no password, for a URL that names no store."""
    if url.startswith(_SQLITE):
        if not Path(url.removeprefix(_SQLITE)).name or "?" in url:
            raise SettingsError(
                f"ALEXNET_STORE_URL: {url} does not name a file alone (no options, no "
                "question mark); use sqlite:////absolute/path/store.db"
            )
        return
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # What the error says may hold the password.
        parsed = None
    if parsed is None or parsed.drivername != "postgresql":
        raise SettingsError(
            "ALEXNET_STORE_URL: this is no URL of a store; use sqlite:////absolute/path/store.db "
            "or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        )
    # A password with a slash in it would end as the database.
    if not parsed.database or set("/@") & set(parsed.database):
        raise SettingsError(
            "ALEXNET_STORE_URL: the URL names no database; use "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with what is special in the password "
            "percent-encoded"
        )
