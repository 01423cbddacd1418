"""Locations of data and checkpoints that lead elsewhere, at submission and when opened."""

import json
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.attacks.targets import ATTACK, Target, Unguarded, attacked
from tests.faults.small_jobs import SmallJobs
from tests.faults.trials import Trial, Trials
from tests.integration.service.test_two_control_planes import Answering
from tests.unit.service.conftest import write_manifest
from tests.unit.service.stub_server import Answer, StubServer
from tests.waiting import wait_for
from trainer.contract.attempt import AttemptOrder, Outcome, Reason
from trainer.contract.checkpoint import (
    CheckpointFile,
    CheckpointManifest,
    DataDigests,
    ScheduleState,
)
from trainer.contract.checkpoint_folder import measure
from trainer.contract.order_file import write_order
from trainer.contract.presets import expand_preset
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec

LOCATION = "a data URL or a path that leads elsewhere"
PICKLE = "a pickle checkpoint"
KEYS = "one idempotency key with another body"
BUCKET = "s3://served/sets"


@dataclass(frozen=True)
class Elsewhere:
    """A folder and a server that nobody may be led to, and an object store that leads there."""

    folder: Path
    server: StubServer
    store: StubServer

    @property
    def environment(self) -> dict[str, str]:
        """Settings of a service whose object store it is."""
        return {
            "AWS_ENDPOINT_URL": self.store.url,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "a",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def locations(self) -> dict[str, str]:
        """Return locations that lead there, or to what no job may read, by what they are."""
        secret = self.folder / "secret"
        return {
            "the metadata address": "http://169.254.169.254/latest/meta-data/iam/",
            "a server": f"{self.server.url}/manifest.json",
            "a redirect": f"{BUCKET}/train",
            "a file URL": f"file://{secret}/manifest.json",
            "a file URL outside the roots": "file:///etc/passwd",
            "a path outside the roots": str(secret),
            "dots": "train/../../secret",
            "dots, escaped": "train/%2e%2e/%2e%2e/secret",
            "dots in a URL": f"{BUCKET}/../../others/sets",
            "dots in a URL, escaped": f"{BUCKET}/%2e%2e/%2e%2e/others/sets",
            "another bucket": "s3://others/sets",
            "a bucket of a like name": "s3://served-by-others/sets",
            "NUL": f"train\0/../{secret}",
            "NUL in a URL": f"{BUCKET}/train\0",
            "a link to a folder": "folder-link",
            "a link to a manifest": "manifest-link",
            "a link to itself": "loop",
            "a chained URL": f"simplecache::{BUCKET}/train",
            "credentials in a URL": "s3://key:secret@served/sets/train",
            "a device": "/dev/zero",
            "a process": "/proc/self/environ",
        }


@contextmanager
def elsewhere(folder: Path) -> Iterator[Elsewhere]:
    """Lay links below `folder/data`, and serve what they must not lead to."""
    data = folder / "data"
    data.mkdir(parents=True)
    write_manifest(folder / "secret")
    (data / "folder-link").symlink_to(folder / "secret")
    (data / "manifest-link").mkdir()
    (data / "manifest-link" / "manifest.json").symlink_to(folder / "secret" / "manifest.json")
    (data / "loop").symlink_to("loop")
    with StubServer(lambda _: Answer(200, b"{}")) as server:
        there = {"Location": f"{server.url}/manifest.json"}
        with StubServer(lambda _: Answer(307, headers=there)) as store:
            yield Elsewhere(folder, server, store)


@contextmanager
def served(folder: Path, kind: type[Answering] = Answering) -> Iterator[tuple[Target, Elsewhere]]:
    """Serve data of a folder and of the object store that leads elsewhere."""
    with elsewhere(folder) as place:
        roots = json.dumps([str(folder / "data"), BUCKET])
        settings = place.environment | {"ALEXNET_DATA_ROOTS": roots}
        with attacked(folder, kind, **settings) as target:
            yield target, place


@pytest.fixture(scope="module")
def led_astray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, Elsewhere]]:
    with served(tmp_path_factory.mktemp("led-astray")) as both:
        yield both


def submit_from(trial: Trial, target: Target, place: Elsewhere, what: str) -> None:
    """Submit and plan jobs with a location wherever one may stand."""
    location = place.locations()[what]
    before = target.num_jobs()
    bodies: list[dict[str, Any]] = [
        {"data": target.body["data"] | {split: location}} for split in ("train", "validation")
    ]
    bodies.append({"init_from": {"checkpoint": location}})
    bodies.append({"kind": "evaluate", "evaluation": {"checkpoints": [location]}})
    for body in bodies:
        for path in ("/jobs", "/jobs/plan"):
            answer = target.ask("POST", path, json=target.body | body)
            refused = answer.status_code == 422 and "errors" in answer.json()
            trial.must(refused, "A", f"{what} to {path}: {answer.status_code} {answer.text[:300]}")
    trial.must(target.num_jobs() == before, "A", f"{what}: a job was made")
    trial.must(not place.server.requests, "A", f"{what}: it was led to {place.server.requests}")
    target.check_whole(trial)


def test_a_location_that_leads_elsewhere_is_refused_at_submission(
    faults: Trials, led_astray: tuple[Target, Elsewhere]
) -> None:
    target, place = led_astray
    for what in place.locations():
        with faults.trial(ATTACK, LOCATION) as trial:
            submit_from(trial, target, place, what)


def test_a_service_that_confines_nothing_is_noticed(faults: Trials, tmp_path: Path) -> None:
    with (
        served(tmp_path / "unguarded", Unguarded) as (target, place),
        faults.unguarded(ATTACK, LOCATION) as trial,
    ):
        submit_from(trial, target, place, "a path outside the roots")


# What an attempt is told to open


def run_attempts(
    root: Path,
    specs: Sequence[JobSpec],
    place: Elsewhere | None,
    roots: tuple[str, ...],
    *mode: str,
) -> list[Outcome]:
    """Run an attempt of each spec, as if it had been accepted; return how they ended."""
    attempts = [RunDirectory(root / f"{n}").attempt(1) for n in range(len(specs))]
    for attempt, spec in zip(attempts, specs, strict=True):
        order = AttemptOrder(
            job_id="a", attempt=1, spec=spec, accelerator="cpu", resume_from=None, data_roots=roots
        )
        write_order(attempt, order)
    module = "tests.faults.attacks.attempts_here"
    folders = [str(attempt.path) for attempt in attempts]
    environment = {**os.environ, **(place.environment if place else {})}
    command = [sys.executable, "-m", module, *mode, *folders]
    subprocess.run(command, check=True, env=environment, timeout=120, capture_output=True)
    return [Outcome.model_validate_json(attempt.outcome.read_bytes()) for attempt in attempts]


def open_all(
    trial: Trial, place: Elsewhere, whats: Sequence[str], small_jobs: SmallJobs, *mode: str
) -> None:
    """Have attempts open locations that became what they are after their jobs were accepted."""
    data = place.folder / "data"
    found = [place.locations()[what] for what in whats]
    whole = [
        str(data / one) if (data / one).is_symlink() or (data / one).is_dir() else one
        for one in found
    ]
    request = small_jobs.request()
    specs = [
        JobSpec.model_validate(
            expand_preset(request | {"data": {**request["data"], "train": location}})
        )
        for location in whole
    ]
    roots = (str(data), BUCKET, str(small_jobs.data_root))
    outcomes = run_attempts(place.folder / f"runs{len(mode)}", specs, place, roots, *mode)
    for what, outcome in zip(whats, outcomes, strict=True):
        trial.must(outcome.reason is Reason.BAD_SPEC, "A", f"{what}: {outcome}")
    trial.must(not place.server.requests, "A", f"it was led to {place.server.requests}")


OPENED = (
    "the metadata address",
    "a server",
    "a file URL",
    "a path outside the roots",
    "dots in a URL, escaped",
    "another bucket",
    "a link to a folder",
    "a link to a manifest",
)


def test_a_location_that_leads_elsewhere_is_refused_again_when_it_is_opened(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path
) -> None:
    with elsewhere(tmp_path) as place:
        with faults.trial(ATTACK, LOCATION) as trial:
            open_all(trial, place, OPENED, small_jobs)
        with faults.unguarded(ATTACK, LOCATION) as trial:
            open_all(trial, place, ["a link to a folder"], small_jobs, "--unguarded")


# Checkpoints that are programs


class Program:
    """What runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


def pickled_checkpoint(folder: Path, mark: Path, kind: str) -> Path:
    """Write a checkpoint whose manifest is right, and whose weights are a program."""
    folder.mkdir(parents=True)
    files = {}
    for name in ("model.safetensors", "velocity.safetensors"):
        if kind == "torch":
            torch.save({"conv1": Program(mark)}, folder / name)
        else:
            (folder / name).write_bytes(pickle.dumps(Program(mark)))
        size_bytes, sha256 = measure(folder / name)
        files[name] = CheckpointFile(size_bytes=size_bytes, sha256=sha256)
    manifest = CheckpointManifest(
        job_id="a",
        attempt=1,
        step=10,
        epoch=0.5,
        schedule=ScheduleState(),
        top1=None,
        top5=None,
        spec_sha256="0" * 64,
        data_sha256=DataDigests(train="a" * 64, validation="b" * 64),
        numerics={},
        files=files,
    ).sealed()
    (folder / "checkpoint.json").write_text(manifest.model_dump_json())
    return folder


def begin_from(trial: Trial, small_jobs: SmallJobs, root: Path, kind: str, *mode: str) -> None:
    """Begin a job with a checkpoint that is a program."""
    mark = root / "it-ran"
    folder = pickled_checkpoint(root / "data" / "evil", mark, kind)
    request = small_jobs.request(init_from={"checkpoint": str(folder)})
    spec = JobSpec.model_validate(expand_preset(request))
    roots = (str(small_jobs.data_root), str(root))
    (outcome,) = run_attempts(root / "runs", [spec], None, roots, *mode)
    trial.must(outcome.outcome == "failed", "A", f"it was taken: {outcome}")
    trial.must("checkpoint" in (outcome.message or ""), "A", f"it is not named: {outcome}")
    trial.must(not mark.exists(), "A", "the program in it has run")


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_a_program_in_a_checkpoint_never_runs(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path, kind: str
) -> None:
    with faults.trial(ATTACK, PICKLE) as trial:
        begin_from(trial, small_jobs, tmp_path, kind)


def test_an_attempt_that_unpickles_is_noticed(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path
) -> None:
    with faults.unguarded(ATTACK, PICKLE) as trial:
        begin_from(trial, small_jobs, tmp_path, "torch", "--unguarded")


def test_a_pickle_is_no_checkpoint_at_submission(
    faults: Trials, target: Target, tmp_path: Path
) -> None:
    data = Path(target.body["data"]["train"]).parents[1]
    pickled_checkpoint(data / "evil", tmp_path / "it-ran", "torch")
    (data / "weights.pt").write_bytes((data / "evil" / "model.safetensors").read_bytes())
    (data / "no-manifest").mkdir()
    (data / "no-manifest" / "checkpoint.json").write_bytes(pickle.dumps(Program(tmp_path / "b")))
    for name in ("weights.pt", "no-manifest", "evil/model.safetensors"):
        with faults.trial(ATTACK, PICKLE) as trial:
            body = target.body | {"init_from": {"checkpoint": str(data / name)}}
            answer = target.ask("POST", "/jobs", json=body)
            trial.must(answer.status_code == 422, "A", f"{name}: {answer.text[:200]}")
            trial.must(not list(tmp_path.iterdir()), "A", f"{name}: the program in it has run")
            target.check_whole(trial)


# A key whose first request is in flight


@contextmanager
def hung_store() -> Iterator[tuple[str, threading.Event]]:
    """Give an address that takes connections and says nothing, and whether anybody has come."""
    came = threading.Event()
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            # Until the server is closed.
            with suppress(OSError):
                while True:
                    held.append(server.accept()[0])
                    came.set()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", came
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for one in held:
                one.close()


def test_a_key_whose_first_request_is_in_flight_is_in_use(faults: Trials, tmp_path: Path) -> None:
    roots = json.dumps([str(tmp_path / "slow" / "data"), BUCKET])
    with hung_store() as (url, came):
        settings = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "a", "ALEXNET_DATA_ROOTS": roots}
        settings["AWS_SECRET_ACCESS_KEY"] = "a"
        with (
            attacked(tmp_path / "slow", **settings) as target,
            faults.trial(ATTACK, KEYS) as trial,
        ):
            slow = target.body | {"data": target.body["data"] | {"train": f"{BUCKET}/train"}}
            headers = {"Idempotency-Key": "a"}
            first: list[int] = []

            def send() -> None:
                answer = target.ask("POST", "/jobs", json=slow, headers=headers, timeout=60)
                first.append(answer.status_code)

            sending = threading.Thread(target=send)
            sending.start()
            wait_for("the first request to be in work", came.is_set, timeout_s=60)
            for body in (slow, target.body):
                answer = target.ask("POST", "/jobs", json=body, headers=headers)
                in_use = answer.status_code == 409 and answer.headers.get("Retry-After")
                trial.must(in_use, "A", f"{answer.status_code} {answer.text[:200]}")
            sending.join()
            trial.must(first == [422], "A", f"the first was answered {first}")
            # It has made nothing: the key is free.
            answer = target.ask("POST", "/jobs", json=target.body, headers=headers)
            trial.must(answer.status_code == 201, "A", f"afterwards: {answer.text[:200]}")
            target.check_whole(trial)
