"""Reading a set in an object store through the node's cache."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from data_shards.errors import (
    PlanError,
    ShardError,
    StorageDeniedError,
    StorageDownError,
    StorageError,
)
from data_shards.feeding.feed_cost import NO_COST
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Reader
from data_shards.feeding.shard_uses import cache_need
from data_shards.manifest import ShardEntry, SidecarEntry, load_manifest
from data_shards.packing.pack import pack
from data_shards.packing.request import PackRequest
from data_shards.shards.sidecars import load_index, load_mean_image
from data_shards.sources.choose import open_source
from data_shards.storage.folder import open_folder
from data_shards.storage.manifests import read_manifest
from data_shards.storage.node_cache import node_cache
from data_shards.storage.retries import DEFAULT_POLICY
from data_shards.storage.shard_cache import CHUNK_BYTES
from tests.flaky_store import Faults, flaky
from tests.object_store import ObjectStore, forget_clients

STEPS = 20


def upload(folder: Path, url: str) -> str:
    for file in folder.iterdir():
        open_folder(url).put(file, file.name)
    return url


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALEXNET_SHARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def remote(packed: Path, bucket: str, cache: Path) -> str:
    return upload(packed, f"{bucket}/sets/train")


def plan_for(location: Path | str, **changes) -> ReaderPlan:
    fields = {"seed": 5, "global_batch_size": 4, "crop_size": 24, "num_streams": 2, "window": 1}
    return ReaderPlan(location=str(location), **{**fields, **changes})


def batches(plan: ReaderPlan, num_processes: int = 2) -> list[tuple[np.ndarray, ...]]:
    with Reader(plan, num_processes=num_processes) as reader:
        return [
            (batch.images.copy(), batch.labels, batch.samples, batch.real)
            for batch in reader.batches(0, STEPS)
        ]


def test_gives_the_batches_of_the_local_set_and_fetches_each_file_once(
    packed: Path, remote: str
) -> None:
    plan = plan_for(packed)
    for local, far in zip(batches(plan), batches(replace(plan, location=remote)), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(local, far, strict=True))
    manifest = load_manifest(packed)
    counted = node_cache().counters()
    read: list[ShardEntry | SidecarEntry] = [*manifest.shards, manifest.index]
    assert counted.fetches == len(read)
    assert counted.bytes_fetched == sum(file.size_bytes for file in read)
    # Another reader of the node, a validation pass for one, finds all of it there.
    batches(plan_for(remote, ordered=True, num_streams=1))
    assert node_cache().counters().fetches == len(read)


def test_batches_tell_what_of_them_was_fetched(packed: Path, remote: str) -> None:
    manifest = load_manifest(packed)
    told = NO_COST
    with Reader(plan_for(remote), num_processes=2) as reader:
        for batch in reader.batches(0, 10**6):
            told = told.plus(batch.cost)
            if told.cache_misses >= len(manifest.shards):
                break
    # Once each, by whom ever; and the loaders open what was fetched ahead of them.
    assert told.cache_misses == len(manifest.shards)
    assert told.remote_bytes == sum(shard.size_bytes for shard in manifest.shards)
    assert told.cache_hits > 0
    assert told.cache_bytes > told.local_bytes == 0
    assert told.fetch_s > 0


def test_tells_when_some_of_a_shard_has_arrived_and_how_long_it_bears_that_nothing_does(
    packed: Path, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [shard.size_bytes for shard in load_manifest(packed).shards]
    told = []
    for location in (packed, remote, remote):
        with Reader(plan_for(location), num_processes=1) as reader:
            assert reader.patience_s == DEFAULT_POLICY.borne_s(max(sizes))
            # However large a shard is: a copy comes by the chunk, and a disk is borne an hour.
            shards = tuple(
                shard.model_copy(update={"size_bytes": 10**10}) for shard in reader.manifest.shards
            )
            with monkeypatch.context() as large:
                large.setattr(
                    reader, "manifest", reader.manifest.model_copy(update={"shards": shards})
                )
                chunk_s = DEFAULT_POLICY.borne_s(CHUNK_BYTES)
                assert reader.patience_s == (3600.0 if location == packed else chunk_s)
            before = reader.arrivals
            for _ in reader.batches(0, reader.steps_per_epoch):
                pass
            told.append(reader.arrivals != before or before != 0)
    assert told == [False, True, False]


def test_sidecars_and_manifest_are_those_of_the_local_set(packed: Path, remote: str) -> None:
    manifest = read_manifest(f"{remote}/manifest.json")
    assert manifest == read_manifest(packed)
    assert np.array_equal(load_index(remote, manifest), load_index(packed, manifest))
    assert np.array_equal(load_mean_image(remote, manifest), load_mean_image(packed, manifest))


@pytest.fixture
def many_shards(request_for: Callable[..., PackRequest], tmp_path: Path) -> Path:
    """The set in shards of two samples."""
    out = tmp_path / "many"
    pack(request_for(samples_per_shard=2), out, num_processes=1)
    return out


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_a_cache_that_holds_what_is_needed_at_once_fetches_a_shard_once_an_epoch(
    many_shards: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = upload(many_shards, f"{bucket}/many")
    manifest = load_manifest(many_shards)
    # A shard lasts two steps, and a window longer than the three batches that are in work.
    plan = plan_for(remote, global_batch_size=2, window=2)
    sizes = sorted(shard.size_bytes for shard in manifest.shards)
    bound = sum(sizes[-9:]) + manifest.index.size_bytes + manifest.mean_image.size_bytes
    monkeypatch.setenv("ALEXNET_SHARD_CACHE_BYTES", str(bound))
    with Reader(plan, num_processes=1) as reader:
        before = node_cache().counters().fetches
        for _ in reader.batches(0, 3 * reader.steps_per_epoch):
            pass
        fetches = node_cache().counters().fetches - before
    # Once an epoch, or less: what an epoch ends with is there when the next begins with it.
    assert 3 * (len(manifest.shards) - 9) < fetches <= 3 * len(manifest.shards)
    monkeypatch.setenv("ALEXNET_SHARD_CACHE_BYTES", str(bound - 1))
    with pytest.raises(PlanError, match=f"and {bound} are needed at once .*: 9 shards"):
        Reader(plan, num_processes=1)


@pytest.fixture
def forty_shards(request_for: Callable[..., PackRequest], tmp_path: Path) -> Path:
    """160 pictures in shards of four."""
    for number in range(160):
        folder = tmp_path / "pictures" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / f"{number}.png")
    source = open_source(tmp_path / "pictures", "train")
    out = tmp_path / "forty"
    pack(request_for(source=source, samples_per_shard=4), out, num_processes=1)
    return out


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_replicas_that_share_a_node_need_no_more_fetches_than_one(
    forty_shards: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = upload(forty_shards, f"{bucket}/replicas")
    manifest = load_manifest(forty_shards)
    plan = plan_for(remote, num_streams=4, window=1, num_replicas=4)
    # The least that a reader accepts.
    bound = cache_need(plan, manifest).bytes
    monkeypatch.setenv("ALEXNET_SHARD_CACHE_BYTES", str(bound))
    with ExitStack() as opened:
        readers = [
            opened.enter_context(Reader(replace(plan, replica=rank), num_processes=1))
            for rank in range(4)
        ]
        before = node_cache().counters().fetches
        epochs = 3
        passes = [reader.batches(0, epochs * reader.steps_per_epoch) for reader in readers]
        for _ in zip(*passes, strict=True):
            # Steps, as of a training, longer than what fetches ahead takes to hear of one.
            time.sleep(0.03)
        fetches = node_cache().counters().fetches - before
    print(f"{fetches} fetches in {epochs} epochs of {len(manifest.shards)} shards")
    assert fetches <= epochs * len(manifest.shards)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: folder.delete("train-000002.tar"), "is missing"),
        (lambda folder: folder.put_bytes(b"x", "train-000002.tar"), "has 1 bytes where"),
    ],
)
def test_names_a_shard_that_the_store_has_not(
    remote: str, damage: Callable[..., None], problem: str
) -> None:
    damage(open_folder(remote))
    with (
        pytest.raises(ShardError, match=f"^{remote}/train-000002.tar: {problem}"),
        Reader(plan_for(remote), num_processes=1) as reader,
    ):
        list(reader.batches(0, STEPS))


def test_a_reader_that_stands_idle_wants_nothing(remote: str) -> None:
    with Reader(plan_for(remote), num_processes=1) as reader:
        prefetch = reader._prefetch
        assert prefetch is not None
        older = reader.batches(3, STEPS)
        next(older)
        assert prefetch.position == (3, STEPS)
        newer = reader.batches(5, STEPS)
        next(newer)
        del older
        assert prefetch.position == (5, STEPS)
        del newer
        assert prefetch.position == (0, 0)
        for _ in reader.batches(0, 2):
            assert prefetch.position[1] == 2
        assert prefetch.position == (0, 0)


@pytest.mark.slow
def test_a_copy_that_was_damaged_on_this_disk_is_fetched_again(
    packed: Path, remote: str, cache: Path
) -> None:
    plan = plan_for(remote)
    first = batches(plan)
    damaged = load_manifest(packed).shards[1]
    (cache / damaged.sha256).write_bytes(bytes(damaged.size_bytes))
    before = node_cache().counters().fetches
    for right, again in zip(first, batches(plan), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(right, again, strict=True))
    assert node_cache().counters().fetches == before + 1


PARENT = """
import sys
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Reader
plan = ReaderPlan(location=sys.argv[1], seed=0, global_batch_size=8, crop_size=24)
reader = Reader(plan, num_processes=1)
for batch in reader.batches(0, 10**9):
    print(flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
def test_what_fetches_ahead_goes_when_the_reader_is_killed(
    remote: str, still_running: Callable[[list[psutil.Process]], list[psutil.Process]]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, remote],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        children = psutil.Process(parent.pid).children()
        assert len(children) == 2
        parent.kill()
    assert not still_running(children)


@pytest.fixture
def faults(
    remote: str, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Faults]:
    """What goes wrong between loaders and the store, once a reader has read the manifest."""
    assert remote
    with flaky(object_store, seed=0) as (proxy, faults):
        faults.answers_all = True
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_clients()
        yield faults
    forget_clients()


def test_loaders_follow_no_redirect(
    remote: str, faults: Faults, object_store: ObjectStore, tmp_path: Path
) -> None:
    with flaky(object_store, seed=0) as (elsewhere, others):
        for there in (elsewhere.endpoint, "http://169.254.169.254", "http://localhost:9"):
            with Reader(plan_for(remote), num_processes=1) as reader:
                # Shards are fetched when loaders ask for them.
                faults.redirect_to = there
                for copy in (tmp_path / "cache").glob(64 * "?"):
                    copy.unlink()
                # Not one that may pass, as if the address were asked and did not answer.
                with pytest.raises(StorageError, match="sends readers to another") as refused:
                    next(reader.batches(0, 1))
                assert not isinstance(refused.value, StorageDownError)
            faults.redirect_to = None
        assert faults.counted["redirect"] > 0
        assert others.asked == []


def test_loaders_that_are_not_let_in_say_so(remote: str, faults: Faults, tmp_path: Path) -> None:
    with Reader(plan_for(remote), num_processes=1) as reader:
        faults.denied_by = "InvalidAccessKeyId"
        for copy in (tmp_path / "cache").glob(64 * "?"):
            copy.unlink()
        with pytest.raises(StorageDeniedError, match=r"s3://.* access was denied"):
            next(reader.batches(0, 1))
