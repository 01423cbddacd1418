"""Batches of a packed set: what they hold, wherever they begin and whoever shares them."""

import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from data_shards.errors import EndedError
from data_shards.feeding.loader import BatchTask
from data_shards.feeding.reader import Batch, Reader
from data_shards.manifest import load_manifest
from data_shards.order import EpochOrder, epoch_order
from data_shards.shards.index import SIZE
from data_shards.shards.sidecars import load_index
from tests.packed_tars import content_of, samples_in
from tests.unit.data_shards.feeding.reading import keep, plan_for, read, same
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def stored(packed: Path) -> tuple[np.ndarray, np.ndarray]:
    """The whole set, read without our reader: (images, labels) in the manifest's order."""
    images, labels = [], []
    for shard in load_manifest(packed).shards:
        with tarfile.open(packed / shard.name) as tar:
            for member in tar:
                content = content_of(tar, member)
                if member.name.endswith(".cls"):
                    labels.append(int(content))
                else:
                    images.append(simplejpeg.decode_jpeg(content))
    return np.array(images), np.array(labels)


@pytest.fixture(scope="module")
def whole(packed: Path) -> list[Batch]:
    """Two epochs: 37 samples, a prime, in 5 steps of 8 each."""
    return read(plan_for(packed), 0, 10)


def test_an_epoch_holds_each_sample_once_with_its_pixels_and_label(
    whole: list[Batch], stored: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = stored
    assert [batch.step for batch in whole] == list(range(10))
    for epoch, batches in enumerate((whole[:5], whole[5:])):
        assert {batch.epoch for batch in batches} == {epoch}
        seen = np.concatenate([batch.samples[batch.real] for batch in batches])
        assert np.array_equal(np.sort(seen), np.arange(37))
        for batch in batches:
            assert not batch.images[~batch.real].any()
            assert np.array_equal(batch.labels, np.where(batch.real, labels[batch.samples], 0))
            for place in np.flatnonzero(batch.real):
                row, column = batch.offsets[place]
                crop = images[batch.samples[place], row : row + 24, column : column + 24]
                expected = crop[:, ::-1] if batch.mirrored[place] else crop
                assert np.array_equal(batch.images[place], expected)
    # Both ways and many places occur, so the comparison above means something.
    assert 0 < np.concatenate([batch.mirrored for batch in batches]).mean() < 1
    assert len({tuple(offset) for batch in batches for offset in batch.offsets}) > 10


def test_any_start_and_any_number_of_processes_give_the_same_batches(
    packed: Path, whole: list[Batch]
) -> None:
    resumed = read(plan_for(packed), 4, 10, num_processes=3)
    assert all(same(*pair) for pair in zip(whole[4:], resumed, strict=True))


def test_batches_tell_what_they_cost(packed: Path, whole: list[Batch]) -> None:
    index = load_index(packed, load_manifest(packed))
    for batch in whole:
        assert min(batch.cost) >= 0
        sizes = index[batch.samples[batch.real], SIZE]
        assert batch.cost.read_bytes() == {"local": sizes.sum(), "cache": 0, "remote": 0}
        assert batch.cost.cache_requests() == {"hit": 0, "miss": 0}
        assert batch.cost.fetch_s == 0
        assert batch.cost.decode_s > 0


def test_batches_that_nobody_has_asked_for_are_counted(packed: Path) -> None:
    with Reader(plan_for(packed), num_processes=1) as reader:
        assert reader.num_ready == 0
        batches = reader.batches(0, 4)
        next(batches)
        # Two tasks a loader, beside the first, which is in the caller's hands.
        wait_for("the second and third", lambda: reader.num_ready == 2, timeout_s=60)
        assert next(batches).num_ready <= 2
        wait_for("the third and fourth", lambda: reader.num_ready == 2, timeout_s=60)
        assert [batch.step for batch in batches] == [2, 3]
        assert reader.num_ready == 0
        # What an iteration left behind is not of the next one.
        left = reader.batches(0, 4)
        next(left)
        wait_for("others", lambda: reader.num_ready == 2, timeout_s=60)
        assert next(reader.batches(3, 4)).num_ready == 0


def test_replicas_together_are_the_global_batch(packed: Path, whole: list[Batch]) -> None:
    shares = [read(plan_for(packed, replica=replica, num_replicas=2), 3, 7) for replica in range(2)]
    for step, batch in enumerate(whole[3:7]):
        for name in ("images", "labels", "real", "samples", "offsets", "mirrored", "colour"):
            both = np.concatenate([vars(share[step])[name] for share in shares])
            assert np.array_equal(both, vars(batch)[name])


def test_images_share_a_crop_across_replicas_processes_and_restarts(packed: Path) -> None:
    plan = plan_for(packed, images_per_crop=3)
    whole = read(plan, 0, 10)
    for epoch in (whole[:5], whole[5:]):
        drawn = np.concatenate(
            [np.column_stack([batch.offsets, batch.mirrored]) for batch in epoch]
        )
        # Places that are not real take part: 40 places, 13 chunks of 3 and one place more.
        chunks = [drawn[start : start + 3] for start in range(0, 40, 3)]
        assert all((chunk == chunk[0]).all() for chunk in chunks)
        assert len({tuple(chunk[0]) for chunk in chunks}) > 5
        # Colour stays each image's own.
        colours = np.concatenate([batch.colour[batch.real] for batch in epoch])
        assert len({tuple(colour) for colour in colours}) == 37
    resumed = [
        read(replace(plan, replica=replica, num_replicas=4), 4, 10, num_processes=2)
        for replica in range(4)
    ]
    for step, batch in enumerate(whole[4:]):
        for name in ("images", "offsets", "mirrored", "colour"):
            shares = np.concatenate([vars(share[step])[name] for share in resumed])
            assert np.array_equal(shares, vars(batch)[name])


def test_seed_and_epoch_change_order_and_draws(packed: Path, whole: list[Batch]) -> None:
    first, second = whole[0], whole[5]
    other = read(plan_for(packed, seed=6), 0, 1)[0]
    for name in ("samples", "offsets", "colour"):
        assert not np.array_equal(vars(first)[name], vars(second)[name])
        assert not np.array_equal(vars(first)[name], vars(other)[name])


def test_validation_reads_in_order_from_the_centre(
    packed: Path, stored: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = stored
    plan = plan_for(packed, ordered=True, random_crop=False, mirror=False)
    batches = read(plan, 0, 5)
    real = np.concatenate([batch.real for batch in batches])
    assert np.array_equal(
        np.concatenate([batch.images for batch in batches])[real], images[:, 4:28, 4:28]
    )
    assert np.array_equal(np.concatenate([batch.labels for batch in batches])[real], labels)


def test_an_iteration_given_up_leaves_nothing_behind(packed: Path, whole: list[Batch]) -> None:
    with Reader(plan_for(packed), num_processes=2) as reader:
        for _ in range(20):
            next(reader.batches(0, 5))
        again = [keep(batch) for batch in reader.batches(0, 5)]
    assert all(same(*pair) for pair in zip(whole[:5], again, strict=True))


@pytest.mark.parametrize("is_advanced", [True, False])
def test_a_newer_iteration_ends_the_one_before(
    packed: Path, whole: list[Batch], is_advanced: bool
) -> None:
    with Reader(plan_for(packed), num_processes=2) as reader:
        older = reader.batches(0, 5)
        if is_advanced:
            next(older)
        newer = reader.batches(0, 5)
        with pytest.raises(EndedError, match="asked for anew"):
            next(older)
        kept = [keep(batch) for batch in newer]
        # It has ended for good.
        assert list(older) == []
    assert all(same(*pair) for pair in zip(whole[:5], kept, strict=True))


def test_a_closed_reader_says_so_at_once(packed: Path) -> None:
    with Reader(plan_for(packed), num_processes=2) as reader:
        batches = reader.batches(0, 5)
        next(batches)
    with pytest.raises(EndedError, match="was closed"):
        next(batches)
    with pytest.raises(EndedError, match="was closed"):
        reader.batches(0, 5)


def test_index_agrees_with_the_tars(packed: Path) -> None:
    manifest = load_manifest(packed)
    index = load_index(packed, manifest)
    rows = [
        (number, *sample)
        for number, shard in enumerate(manifest.shards)
        for sample in samples_in(packed / shard.name)
    ]
    assert np.array_equal(index, rows)
    first = (packed / manifest.shards[0].name).read_bytes()
    _, offset, size, _ = index[0].tolist()
    assert first[offset : offset + 2] == b"\xff\xd8"
    assert hashlib.sha256(first).hexdigest() == manifest.shards[0].sha256
    assert first[offset + size - 2 : offset + size] == b"\xff\xd9"


def test_any_start_takes_the_work_of_the_first(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fast-forward: what is done before the first batch does not grow with its number."""
    orders: list[int] = []

    def counted(*args: Any, **numbers: Any) -> EpochOrder:
        orders.append(numbers["epoch"])
        return epoch_order(*args, **numbers)

    monkeypatch.setattr("data_shards.feeding.epochs.epoch_order", counted)
    work: list[tuple[int, int]] = []
    # In the first epoch and in the 200,000,000th, at its first step and at its last.
    for start in (0, 4, 10**9, 10**9 + 4):
        with Reader(plan_for(packed), num_processes=2) as reader:
            sent: list[BatchTask] = []
            send = reader._pool.send
            monkeypatch.setattr(
                reader._pool,
                "send",
                lambda worker, task, send=send, sent=sent: (sent.append(task), send(worker, task)),
            )
            orders.clear()
            batch = next(reader.batches(start, start + 100))
            assert (batch.step, batch.epoch) == (start, start // 5)
            work.append((len(sent), sum(len(task.samples) for task in sent)))
            assert [task.step for task in sent] == list(range(start, start + len(sent)))
            # Of the start's epoch, and of the next where the loaders are ahead into it.
            assert orders == sorted({task.step // 5 for task in sent})
    # Two tasks a loader, and one more if a loader has answered meanwhile.
    assert {tasks for tasks, _ in work} <= {4, 5}
    assert all(samples == 8 * tasks for tasks, samples in work)
