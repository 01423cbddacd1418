from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_shards.feeding.crops import crops
from data_shards.feeding.draws import crop_offsets, mirrored
from data_shards.feeding.plan import ReaderPlan
from data_shards.order import epoch_order, steps_per_epoch

PLAN = ReaderPlan(location="nowhere", seed=3, global_batch_size=8, crop_size=24)
MARGIN = 8


def of_step(plan: ReaderPlan, step: int, *, epoch: int = 2) -> np.ndarray:
    """(global batch, 3): row, column, mirrored of the whole global batch, replica after replica."""
    order = epoch_order([30, 37], seed=plan.seed, epoch=epoch, num_streams=4, window=1)
    samples, _ = order.batch(step, plan.global_batch_size)
    shares = np.split(samples, plan.num_replicas)
    drawn = [
        crops(replace(plan, replica=replica), share, epoch=epoch, step=step, margin=MARGIN)
        for replica, share in enumerate(shares)
    ]
    return np.concatenate([np.column_stack([offsets, mirrors]) for offsets, mirrors in drawn])


@given(
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 100),
    batch=st.sampled_from([4, 8, 12, 48, 128]),
    images_per_crop=st.integers(1, 40),
)
def test_replicas_and_the_step_begun_from_change_nothing(seed, epoch, batch, images_per_crop):
    plan = replace(PLAN, seed=seed, global_batch_size=batch, images_per_crop=images_per_crop)
    steps = range(steps_per_epoch(67, batch))
    alone = [of_step(plan, step, epoch=epoch) for step in steps]
    for num_replicas in (2, 4):
        parted = replace(plan, num_replicas=num_replicas)
        # Latest first: no step leans on one before it.
        for step in reversed(steps):
            assert np.array_equal(of_step(parted, step, epoch=epoch), alone[step])


@given(st.integers(0, 100), st.sampled_from([4, 8, 12, 48, 128]), st.integers(2, 40))
def test_each_chunk_of_consecutive_images_shares_one_crop(epoch, batch, images_per_crop):
    plan = replace(PLAN, global_batch_size=batch, images_per_crop=images_per_crop)
    epochs = [of_step(plan, step, epoch=epoch) for step in range(steps_per_epoch(67, batch))]
    for position, drawn in enumerate(np.concatenate(epochs)):
        chunk = np.array([position // images_per_crop])
        key = {"seed": plan.seed, "epoch": epoch, "unit": "chunk"}
        (offset,) = crop_offsets(chunk, **key, num_positions=MARGIN + 1)
        assert drawn.tolist() == [*offset, mirrored(chunk, **key)[0]]


def test_an_image_alone_keeps_its_crop_wherever_it_is_presented():
    samples = np.array([5, 40, 5])
    offsets, mirrors = crops(PLAN, samples, epoch=1, step=0, margin=MARGIN)
    later, later_mirrors = crops(PLAN, samples[::-1], epoch=1, step=6, margin=MARGIN)
    assert np.array_equal(offsets, later[::-1])
    assert np.array_equal(mirrors, later_mirrors[::-1])
    assert np.array_equal(offsets, crop_offsets(samples, seed=3, epoch=1, num_positions=9))
    assert np.array_equal(mirrors, mirrored(samples, seed=3, epoch=1))


@given(st.integers(1, 40), st.integers(0, 9))
def test_what_is_not_wanted_is_not_drawn(images_per_crop, margin):
    plan = replace(PLAN, images_per_crop=images_per_crop, random_crop=False, mirror=False)
    offsets, mirrors = crops(plan, np.arange(8), epoch=0, step=1, margin=margin)
    assert (offsets == margin // 2).all()
    assert not mirrors.any()
