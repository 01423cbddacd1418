"""Jobs whose data lie in an object store, and locations that would lead elsewhere."""

import itertools
import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from data_shards.manifest import ManifestError
from service.control_plane import ControlPlane
from service.settings import Settings
from service.submission import manifests, shards
from tests.flaky_store import flaky
from tests.object_store import ObjectStore, forget_clients
from tests.unit.service.conftest import free_port

ROOT = "s3://served/sets"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Settings:
    return Settings(
        state_dir=tmp_path_factory.mktemp("service") / "state",
        data_roots=(ROOT, str(data_root)),
        ray_address="http://127.0.0.1:9",
        port=free_port(),
    )


@pytest.fixture(scope="module")
def filled(object_store: ObjectStore, data_root: Path) -> ObjectStore:
    """The store with the manifests of `data_root`, and what is none."""
    object_store.make_bucket("served")
    object_store.make_bucket("others")
    for split in ("train", "validation"):
        content = (data_root / split / "manifest.json").read_bytes()
        for bucket in ("served", "others"):
            put(object_store, f"{bucket}/sets/{split}", content)
    put(object_store, "served/sets/broken", b"\xff")
    put(object_store, "served/sets/empty", b"")
    return object_store


def put(store: ObjectStore, folder: str, content: bytes) -> None:
    httpx.put(f"{store.endpoint}/{folder}/manifest.json", content=content).raise_for_status()


@pytest.fixture(autouse=True)
def credentials(filled: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in filled.environment.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield
    forget_clients()


def submit(http: httpx.Client, body: dict[str, Any], train: str) -> httpx.Response:
    data = {"train": train, "validation": f"{ROOT}/validation"}
    return http.post("/jobs", json=body | {"data": data}, timeout=60)


def refusal(answer: httpx.Response) -> str:
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == "data.train"
    return str(error["message"])


def test_a_job_on_urls_below_a_root_is_stored_with_its_manifests(
    http: httpx.Client, request_body: dict[str, Any]
) -> None:
    answer = submit(http, request_body, f"{ROOT}/train/")
    assert answer.status_code == 201, answer.text
    data = answer.json()["spec"]["data"]
    assert data["train"] == f"{ROOT}/train/manifest.json"
    assert data["validation"] == f"{ROOT}/validation/manifest.json"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that are fetched."""
    urls: list[str] = []
    right = manifests._fetch

    def fetch(url: str, deadline_s: float) -> object:
        urls.append(url)
        return right(url, deadline_s)

    monkeypatch.setattr(manifests, "_fetch", fetch)
    return urls


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/iam",
        "https://127.0.0.1:8000/jobs",
        "file:///etc/passwd",
        "file:/etc/passwd",
        "s3://others/sets/train",
        "s3://served/sets-of-others",
        "s3://served/sets/../../others/sets/train",
        "s3://served/sets/%2e%2e/train",
        "s3://served/sets//train",
        "s3://served/sets/train\0",
        "s3://served/sets/train?versionId=1",
        "s3://served/sets/train#a",
        "simplecache::s3://served/sets/train",
        "/etc/passwd",
        "train/../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "train\0",
    ],
)
def test_a_location_that_leads_elsewhere_is_refused_by_field_and_never_asked_for(
    http: httpx.Client,
    plane: ControlPlane,
    request_body: dict[str, Any],
    location: str,
    asked: list[str],
) -> None:
    before = len(plane.store.live_jobs())
    answer = submit(http, request_body, location)
    message = refusal(answer)
    assert ";" in message or "not a usable path" in message
    assert asked == [f"{ROOT}/validation/manifest.json"]
    assert len(plane.store.live_jobs()) == before


def test_a_password_is_neither_answered_nor_logged(
    http: httpx.Client, request_body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    for password in ("quite-secret", "quite/secret"):
        with caplog.at_level(logging.DEBUG):
            answer = submit(http, request_body, f"s3://key:{password}@served/sets/train")
        assert "holds credentials" in refusal(answer)
        assert "quite" not in answer.text + caplog.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "does not exist; pack the images first"),
        ("broken", "it is no text; pack the images again"),
        ("empty", "is not JSON"),
    ],
)
def test_what_is_no_manifest_is_said(
    http: httpx.Client, request_body: dict[str, Any], name: str, words: str
) -> None:
    message = refusal(submit(http, request_body, f"{ROOT}/{name}"))
    assert message.startswith(f"{ROOT}/{name}/manifest.json ")
    assert words in message


def test_a_manifest_that_is_too_large_is_not_fetched(
    http: httpx.Client, request_body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "MAX_MANIFEST_BYTES", 100)
    data = {"train": f"{ROOT}/train", "validation": "validation"}
    answer = http.post("/jobs", json=request_body | {"data": data})
    assert "bytes, too many for a manifest" in refusal(answer)


def test_a_store_that_is_down_is_told_from_bad_data(
    http: httpx.Client, request_body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_clients()
    data = {"train": f"{ROOT}/train", "validation": "validation"}
    answer = http.post("/jobs", json=request_body | {"data": data}, timeout=60)
    assert "the object store does not answer as it should" in refusal(answer)


def test_a_store_that_drips_is_given_up(
    filled: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with flaky(filled, seed=0) as (proxy, faults):
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_clients()
        # Refused once, the driver is imported, its client made and connected before time counts.
        faults.is_down = True
        with pytest.raises(ManifestError, match="does not answer as it should"):
            manifests.read_manifest(f"{ROOT}/train/manifest.json")
        faults.is_down, faults.drips = False, True
        with pytest.raises(ManifestError, match=r"does not answer as it should .too slow.; submit"):
            manifests.read_manifest(f"{ROOT}/train/manifest.json", deadline_s=1.0)
        # What it is, and the beginning of what it holds.
        assert faults.counted["drip"] == 2


@contextmanager
def hung_store() -> Iterator[str]:
    """An address that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_store_that_hangs_leaves_threads_to_other_routes(
    http: httpx.Client, request_body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"train": f"{ROOT}/train", "validation": "validation"}
    submits = 45
    with ThreadPoolExecutor(submits) as threads, hung_store() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        forget_clients()

        def post(_: int) -> httpx.Response:
            body = request_body | {"data": data}
            return httpx.post(f"{http.base_url}/jobs", json=body, timeout=60)

        waiting = [threads.submit(post, number) for number in range(submits)]
        # Only those with a slot wait for the store; the rest are sent away, and others answered.
        sent_away = list(itertools.islice(as_completed(waiting), submits - 4))
        assert http.get("/jobs", timeout=60).status_code == 200
        assert sum(not answer.done() for answer in waiting) == 4
    for answer in (done.result() for done in sent_away):
        assert answer.status_code == 503, answer.text
        assert answer.headers["Retry-After"] == "2"
        assert "try again" in answer.json()["detail"]
    for answer in (one.result() for one in waiting if one not in sent_away):
        assert "does not answer as it should" in refusal(answer)


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "ExpiredToken"])
def test_who_is_not_let_in_is_told_to_mend_the_credentials(
    filled: ObjectStore,
    http: httpx.Client,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    with flaky(filled, seed=0) as (proxy, faults):
        faults.denied_by = code
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_clients()
        data = {"train": f"{ROOT}/train", "validation": "validation"}
        for path in ("/jobs", "/jobs/plan"):
            answer = http.post(path, json=request_body | {"data": data}, timeout=60)
            assert "access is denied; give the control plane credentials" in refusal(answer)


def test_a_plan_says_that_shards_may_not_be_listed(
    filled: ObjectStore,
    http: httpx.Client,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deny(url: str) -> dict[str, int]:
        with flaky(filled, seed=0) as (proxy, faults):
            faults.denied_by = "AccessDenied"
            with monkeypatch.context() as patched:
                patched.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
                forget_clients()
                return manifests.stored_sizes(url)

    monkeypatch.setattr(shards, "stored_sizes", deny)
    data = {"train": f"{ROOT}/train", "validation": "validation"}
    answer = http.post("/jobs/plan", json=request_body | {"data": data}, timeout=60)
    told = answer.json()["plan"]["shards"][0]["how"]
    assert told.startswith("nothing: ")
    assert "access is denied" in told


def test_a_store_that_sends_elsewhere_is_not_followed(
    filled: ObjectStore,
    http: httpx.Client,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with flaky(filled, seed=0) as (proxy, faults), flaky(filled, seed=0) as (elsewhere, others):
        faults.redirect_to = elsewhere.endpoint
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_clients()
        data = {"train": f"{ROOT}/train", "validation": "validation"}
        answer = http.post("/jobs", json=request_body | {"data": data}, timeout=60)
        assert "cannot be read: " in refusal(answer)
        assert faults.counted["redirect"] > 0
        assert others.asked == []
