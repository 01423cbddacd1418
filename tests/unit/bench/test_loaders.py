"""What loaders of one set take beside one another."""

from tests.bench.data.loaders import LoadersMemory, shared_ratio, whole_ratio

MIB = 1 << 20


def test_pages_that_are_shared_cost_many_loaders_no_more_than_one():
    one, many = LoadersMemory(99 * MIB, 20 * MIB), LoadersMemory(99 * MIB, 80 * MIB)
    assert shared_ratio(one, many, 100 * MIB) == 1.0
    assert whole_ratio(one, many) == 1.504


def test_a_copy_for_each_loader_shows():
    one, many = LoadersMemory(99 * MIB, 0), LoadersMemory(4 * 99 * MIB, 0)
    assert shared_ratio(one, many, 100 * MIB) == 4.0


def test_what_is_not_mapped_makes_no_ratio():
    read, mapped = LoadersMemory(9 * MIB, 90 * MIB), LoadersMemory(99 * MIB, 0)
    reason = "mapped 9 MiB of a set of 100: it is not read through its pages"
    assert shared_ratio(read, mapped, 100 * MIB) == f"one loader {reason}"
    assert shared_ratio(mapped, read, 100 * MIB) == f"many loaders {reason}"
