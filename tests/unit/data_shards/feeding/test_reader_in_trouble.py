"""Readers of damaged sets, of plans that do not fit, and whose processes end."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from data_shards.errors import PlanError, ShardError, WorkerDiedError
from data_shards.feeding.corrupt import CorruptReason
from data_shards.feeding.reader import Reader
from data_shards.manifest import load_manifest
from data_shards.shards.sidecars import load_index
from tests.unit.data_shards.feeding.reading import flip_byte, plan_for, read


def test_a_corrupt_sample_weighs_zero_and_is_named(
    own_copy: Path, seal: Callable[[Path], None]
) -> None:
    manifest = load_manifest(own_copy)
    index = load_index(own_copy, manifest)
    shard, offset, size, label = index[13].tolist()
    path = own_copy / manifest.shards[shard].name
    with path.open("r+b") as file:
        file.seek(offset + size // 2)
        file.write(bytes(size - size // 2))
    seal(own_copy)
    batches = read(plan_for(own_copy), 0, 5)
    corrupt = [sample for batch in batches for sample in batch.corrupt]
    assert [(one.sample, one.shard, one.key) for one in corrupt] == [
        (13, "train-000001.tar", "000000013")
    ]
    assert corrupt[0].reason is CorruptReason.BROKEN
    (batch,) = (batch for batch in batches if batch.corrupt)
    place = batch.samples.tolist().index(13)
    assert not batch.real[place]
    assert not batch.images[place].any()
    assert batch.labels[place] == label
    seen = np.concatenate([batch.samples[batch.real] for batch in batches])
    assert set(range(37)) - set(seen.tolist()) == {13}


def test_a_shard_that_is_not_the_manifests_is_named(own_copy: Path) -> None:
    flip_byte(own_copy / "train-000002.tar", 3000)
    with pytest.raises(ShardError, match="does not have the manifest's sha256") as caught:
        read(plan_for(own_copy), 0, 5, num_processes=2)
    assert caught.value.shard == str(own_copy / "train-000002.tar")


def test_a_changed_index_is_named(own_copy: Path) -> None:
    flip_byte(own_copy / "index.npy", 200)
    with pytest.raises(ShardError, match=r"index\.npy: does not have the manifest's sha256"):
        Reader(plan_for(own_copy), num_processes=1)


def test_a_label_of_no_class_is_told_when_the_reader_is_opened(
    own_copy: Path, seal: Callable[[Path], None]
) -> None:
    index = np.load(own_copy / "index.npy")
    index[20, 3] = 12
    np.save(own_copy / "index.npy", index)
    seal(own_copy)
    problem = r"index\.npy: has the label 12 in train-000002\.tar, outside the 5 classes"
    with pytest.raises(ShardError, match=problem):
        Reader(plan_for(own_copy), num_processes=1)


def test_a_dead_loader_is_reported(packed: Path) -> None:
    with Reader(plan_for(packed), num_processes=2) as reader:
        batches = reader.batches(0, 1000)
        next(batches)
        os.kill(reader.pids[0], signal.SIGKILL)
        with pytest.raises(WorkerDiedError, match=f"{reader.pids[0]} ended by signal SIGKILL"):
            list(batches)


def test_close_leaves_no_process_and_no_descriptor(packed: Path) -> None:
    me = psutil.Process()
    before = me.num_fds()
    with Reader(plan_for(packed), num_processes=2) as reader:
        next(reader.batches(0, 5))
        pids = reader.pids
    assert not any(psutil.pid_exists(pid) for pid in pids)
    reader.close()
    del reader
    assert me.num_fds() <= before


def test_names_a_shard_cut_short_under_it(own_copy: Path) -> None:
    with Reader(plan_for(own_copy), num_processes=2) as reader:
        batches = reader.batches(0, 10**9)
        next(batches)
        os.truncate(own_copy / "train-000001.tar", 700)
        with pytest.raises(ShardError, match=r"1\.tar: (ends before|was cut short to 700|has 700)"):
            list(batches)


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_loader_ended_by_a_bus_error_is_told_from_one_without_a_reason(
    own_copy: Path, is_cut: bool
) -> None:
    with Reader(plan_for(own_copy), num_processes=1) as reader:
        batches = reader.batches(0, 10**9)
        next(batches)
        if is_cut:
            os.truncate(own_copy / "train-000001.tar", 700)
        os.kill(reader.pids[0], signal.SIGBUS)
        error, words = (
            (ShardError, "train-000001.tar: was cut short to 700 bytes")
            if is_cut
            else (WorkerDiedError, "ended by signal SIGBUS")
        )
        with pytest.raises(error, match=words):
            list(itertools.islice(batches, 100))


PARENT = """
import sys
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Reader
plan = ReaderPlan(location=sys.argv[1], seed=0, global_batch_size=8, crop_size=24)
reader = Reader(plan, num_processes=2)
for batch in reader.batches(0, 10**9):
    print(*reader.pids, flush=True)
    sys.stdin.readline()
"""


def test_loaders_go_when_the_parent_is_killed(
    packed: Path, still_running: Callable[[list[psutil.Process]], list[psutil.Process]]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(packed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        loaders = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(loaders) == 2
        parent.kill()
    assert not still_running(loaders)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_replicas": 3}, "3 replicas do not divide the global batch of 8"),
        ({"num_streams": 3}, "3 streams do not divide the global batch of 8"),
        ({"num_replicas": 8, "num_streams": 4}, "8 replicas do not divide the streams of 4"),
        ({"replica": 1}, "no replica 1 among 1"),
        ({"crop_size": 33}, "a crop of 33 pixels does not fit images of 32"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    packed: Path, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        Reader(plan_for(packed, **changes), num_processes=1)
