import os
import threading
from collections.abc import Iterator
from io import FileIO

import pytest

from tests.waiting import wait_for
from trainer.pictures.wanted import NoMore, Wanted, Wishes, line_of

TIMEOUT_S = 30


def _wanted(step: int) -> Wanted:
    return Wanted(step=step, epoch=step / 10, has_checkpoint=True, has_classes=False)


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    reading, writing = os.pipe()
    with FileIO(reading) as told, FileIO(writing, "w") as tells:
        yield told, tells


def test_what_was_wanted_last_is_drawn_and_what_came_before_is_left_out(
    pipe: tuple[FileIO, FileIO],
) -> None:
    told, tells = pipe
    ended = threading.Event()
    # No more than a pipe holds.
    tells.write(b"".join(line_of(_wanted(step)) for step in range(500)) + line_of(NoMore()))
    tells.close()
    wishes = Wishes(told, at_end=ended.set)
    assert ended.wait(TIMEOUT_S)
    assert [wanted.step for wanted in wishes] == [499]


def test_each_is_drawn_where_nothing_follows_meanwhile(pipe: tuple[FileIO, FileIO]) -> None:
    told, tells = pipe
    wishes = iter(Wishes(told, at_end=lambda: None))
    for step in range(3):
        tells.write(line_of(_wanted(step)))
        assert next(wishes) == _wanted(step)
    tells.write(line_of(NoMore()))
    assert list(wishes) == []
    tells.close()


def test_the_end_is_noticed_while_something_is_drawn(pipe: tuple[FileIO, FileIO]) -> None:
    told, tells = pipe
    ended: list[bool] = []
    wishes = iter(Wishes(told, at_end=lambda: ended.append(True)))
    tells.write(line_of(_wanted(1)))
    next(wishes)
    assert not ended
    tells.close()
    wait_for("the end", lambda: ended, timeout_s=TIMEOUT_S)
