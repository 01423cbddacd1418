from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.running.one_behind import one_behind


@given(st.lists(st.booleans(), max_size=20))
def test_each_comes_once_in_order_when_the_next_is_taken_or_at_once(at_once: list[bool]) -> None:
    taken: list[int] = []

    def take() -> Iterator[int]:
        for number in range(len(at_once)):
            taken.append(number)
            yield number

    yielded = []
    for number in one_behind(take(), at_once=lambda number: at_once[number]):
        yielded.append(number)
        if at_once[number]:
            assert taken[-1] == number
        else:
            assert taken[-1] == min(number + 1, len(at_once) - 1)
    assert yielded == list(range(len(at_once)))


def test_what_is_held_when_taking_fails_is_not_yielded() -> None:
    def take() -> Iterator[int]:
        yield 0
        yield 1
        raise OSError("no third")

    yielded: list[int] = []
    with pytest.raises(OSError, match="no third"):
        yielded.extend(one_behind(take(), at_once=lambda _: False))
    assert yielded == [0]
