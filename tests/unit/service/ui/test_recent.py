"""What is read for all pages by whoever comes first."""

from collections.abc import Iterator

import pytest

from service.ui.recent import Recent


def test_it_is_read_once_in_a_while() -> None:
    clock, reads = [0.0], []

    def read() -> int:
        reads.append(clock[0])
        return len(reads)

    recent = Recent(read, for_s=1.0, clock=lambda: clock[0])
    assert [recent.get(), recent.get()] == [1, 1]
    clock[0] = 1.0
    assert recent.get() == 2


def test_what_cannot_be_read_is_not_remembered() -> None:
    answers: Iterator[ValueError | int] = iter([ValueError("away"), 7])

    def read() -> int:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    recent = Recent(read, for_s=1.0, clock=lambda: 0.0)
    with pytest.raises(ValueError, match="away"):
        recent.get()
    assert recent.get() == 7
