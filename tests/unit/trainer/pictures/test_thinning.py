import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.runs import add_attempt
from trainer.contract.pictures import INDEX_NAME
from trainer.contract.run_directory import RunDirectory
from trainer.pictures.thinning import MOST_STEPS, kept, thin


@given(steps=st.sets(st.integers(0, 10_000), max_size=200), most=st.integers(2, 70))
def test_at_most_so_many_are_kept_and_the_ends_among_them(steps: set[int], most: int) -> None:
    left = kept(steps, most)
    assert left == sorted(set(left))
    assert set(left) <= steps
    assert len(left) == min(len(steps), most)
    if steps:
        assert (left[0], left[-1]) == (min(steps), max(steps))


@given(num_steps=st.integers(3, 300), most=st.integers(3, 64), interval=st.integers(1, 1000))
def test_what_is_thinned_as_it_comes_stays_evenly_spread(
    num_steps: int, most: int, interval: int
) -> None:
    left: list[int] = []
    for number in range(1, num_steps + 1):
        left = kept([*left, number * interval], most)
    assert (left[0], left[-1]) == (interval, num_steps * interval)
    # No gap is twice what each had if all were the same.
    widest = max(later - earlier for earlier, later in itertools.pairwise(left))
    if len(left) == most:
        assert widest * (most - 1) <= 2 * (left[-1] - left[0])


def test_what_is_too_much_or_half_drawn_is_deleted(tmp_path: Path) -> None:
    attempt = add_attempt(RunDirectory(tmp_path / "run"))
    steps = range(10, 10 * (MOST_STEPS + 10), 10)
    for step in (*steps, 15, steps[-1] + 5):
        folder = attempt.pictures_at(step)
        folder.mkdir(parents=True)
        (folder / "tower-0.png").write_bytes(b"x")
        if step in steps:
            (folder / INDEX_NAME).write_bytes(b"x")
    (attempt.pictures / "images").mkdir()
    thin(attempt, drawn=steps[-1])
    # What is in the making stays.
    assert sorted(attempt.pictured()) == [*kept(steps), steps[-1] + 5]
    assert (attempt.pictures / "images").exists()
