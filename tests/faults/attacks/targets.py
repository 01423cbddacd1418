"""What is attacked: a service as it is run, with tokens, or one without what refuses attacks."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from service.access.caller import EVERYONE, Role
from service.access.tokens import issue_token
from service.reconciling.starter import sha256_of_token
from service.store.store import Store
from service.store.tokens import create_token, revoke_token
from tests.acceptance.product import ControlPlane
from tests.faults.trials import Trial
from tests.integration.service.test_two_control_planes import NO_RAY, Answering
from tests.unit.service.conftest import job_in, now, write_manifest
from tests.unit.service.guarded import bearer
from trainer.contract.status import Status

ATTACK = "attack"
# Assumed: what Python's own bookkeeping may take while a request is refused.
SPARE_BYTES = 32 << 20
# In no attempt, so that nobody looks for one.
IDLE = (Status.QUEUED, Status.PAUSED, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)

_ATTEMPTS = "of-an-attempt"


class Unguarded(Answering):
    """A service that refuses nothing."""

    module = "tests.faults.attacks.unguarded"


@dataclass(frozen=True)
class Target:
    """A service that runs, with a job of nobody's for each of the idle statuses, named by it."""

    plane: ControlPlane
    tokens: dict[str, str]
    """By role, those that are `revoked` and `expired`, and the `attempt`'s, of all jobs alike."""
    body: dict[str, Any] = field(repr=False)
    """A request that is accepted."""

    def num_jobs(self) -> int:
        """Return how many jobs are stored."""
        text = self.ask("GET", "/metrics").text
        (line,) = [one for one in text.splitlines() if one.startswith("alexnet_jobs_submitted_t")]
        return int(float(line.split()[1]))

    def ask(
        self, method: str, path: str, *, token: str | None = "admin", **options: Any
    ) -> httpx.Response:
        """Send a request with the token of that name; headers that are given are sent instead."""
        own = {} if token is None else bearer(self.tokens[token])
        headers = own | options.pop("headers", {})
        return self.plane.http.request(method, path, headers=headers, **options)

    def check_whole(self, trial: Trial) -> None:
        """Note a violation where the service failed at anything, or answers no more."""
        log = self.plane.log.read_bytes()
        for mark in (b"Traceback", b" ERROR ", b"\x1b"):
            where = log.find(mark)
            said = log[max(0, where - 200) : where + 2000].decode(errors="replace")
            trial.must(where < 0, "A", f"the log has {mark!r}: {said}")
        alive = self.plane.process.poll() is None and self.ask("GET", "/jobs").is_success
        trial.must(alive, "A", "it answers no more")

    @contextmanager
    def in_bounded_memory(self, trial: Trial, spare_bytes: int = SPARE_BYTES) -> Iterator[None]:
        """Note a violation if the service's memory grows by more while the block runs."""
        proc = Path(f"/proc/{self.plane.process.pid}")
        # Has the kernel measure the peak from here on.
        (proc / "clear_refs").write_text("5")
        before = _bytes(proc, "VmRSS")
        yield
        grown = _bytes(proc, "VmHWM") - before
        trial.must(grown < spare_bytes, "A", f"its memory grew by {grown >> 20} MiB")


def _bytes(proc: Path, name: str) -> int:
    status = (proc / "status").read_text()
    (line,) = [one for one in status.splitlines() if one.startswith(f"{name}:")]
    return int(line.split()[1]) << 10


@contextmanager
def attacked(
    folder: Path, kind: type[ControlPlane] = Answering, /, **settings: str
) -> Iterator[Target]:
    """Serve, without Ray; requests are unlimited unless the settings say otherwise."""
    state, data = folder / "state", folder / "data"
    state.mkdir(parents=True)
    manifests = {
        split: str(write_manifest(data / split, split=split)) for split in ("train", "validation")
    }
    unlimited = {"ALEXNET_REQUESTS_PER_SECOND": "1e6", "ALEXNET_REQUEST_BURST": "1000000"}
    plane = kind(state, data, **(NO_RAY | unlimited | settings))
    tokens = _fill(Store(plane.store_url))
    with plane.running():
        yield Target(plane, tokens, {"preset": "small", "name": "a job", "data": manifests})


def _fill(store: Store) -> dict[str, str]:
    """Make jobs, and tokens; return the tokens."""
    with ExitStack() as closing:
        closing.callback(store.close)
        store.migrate()
        for status in IDLE:
            job_in(store, status, status.lower(), token_sha256=sha256_of_token(_ATTEMPTS))
        tokens = {role.value: _token(store, role) for role in Role} | {"attempt": _ATTEMPTS}
        tokens["expired"] = _token(store, Role.ADMIN, expires_in=timedelta(0))
        tokens["revoked"] = revoked = _token(store, Role.ADMIN)
        token_id = revoked.split("_")[1]
        store.write(lambda connection: revoke_token(connection, token_id, EVERYONE, now()))
        return tokens


def _token(store: Store, role: Role, *, expires_in: timedelta | None = None) -> str:
    record, token = issue_token(
        owner=role.value, role=role, description="", expires_in=expires_in, now=now()
    )
    store.write(lambda connection: create_token(connection, record, EVERYONE, now()))
    return str(token)
