import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_shards.manifest import SkippedImage
from data_shards.packing.record import PackedShard, read_record, write_record
from data_shards.packing.statistics import PixelSums

NAME, REQUEST = "train-000003.tar", "ab" * 32


def made_up(seed: int, num_images: int) -> tuple[PackedShard, PixelSums]:
    random = np.random.default_rng(seed)
    sums = PixelSums.zero(4)
    for _ in range(num_images):
        sums.add_image(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    shard = PackedShard(
        name=NAME,
        rows=random.integers(0, 1 << 40, (num_images, 3)),
        size_bytes=int(random.integers(0, 1 << 40)),
        sha256=random.bytes(32).hex(),
        skipped={"unreadable": 2},
        skipped_images=(SkippedImage(path="a\\xff/ä.png", reason="unreadable"),),
    )
    return shard, sums


# Sums of many images take more bytes each.
@given(st.integers(0, 2**32), st.sampled_from([0, 1, 2, 300]))
def test_a_record_gives_back_what_was_written(seed, num_images):
    shard, sums = made_up(seed, num_images)
    read = read_record(write_record(shard, sums, REQUEST), NAME, REQUEST)
    assert read is not None
    found, found_sums = read
    assert np.array_equal(found.rows, shard.rows)
    assert found.rows.dtype == np.int64
    assert found.rows.shape == (num_images, 3)
    for name in ("name", "size_bytes", "sha256", "skipped", "skipped_images"):
        assert getattr(found, name) == getattr(shard, name)
    assert found.num_tried == num_images + 2
    assert found_sums.num_images == num_images
    assert np.array_equal(found_sums.image, sums.image)
    assert np.array_equal(found_sums.products, sums.products)
    # They are added to.
    found_sums.add_image(np.zeros((4, 4, 3), np.uint8))


RECORD = write_record(*made_up(0, 3), REQUEST)


@given(st.integers(0, len(RECORD) - 1), st.integers(0, 7))
def test_one_bit_more_or_less_and_it_is_none(place, bit):
    damaged = bytearray(RECORD)
    damaged[place] ^= 1 << bit
    assert read_record(bytes(damaged), NAME, REQUEST) is None


@given(st.integers(0, len(RECORD) - 1))
def test_a_record_cut_short_is_none(length):
    assert read_record(RECORD[:length], NAME, REQUEST) is None


def test_a_record_of_another_shard_or_request_is_none():
    assert read_record(RECORD, NAME, REQUEST) is not None
    assert read_record(RECORD, "train-000004.tar", REQUEST) is None
    assert read_record(RECORD, NAME, "cd" * 32) is None
