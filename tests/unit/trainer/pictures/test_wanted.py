import os
import threading
from collections.abc import Iterator
from io import FileIO
from queue import Queue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import wait_for
from trainer.pictures.wanted import NoMore, Wanted, Wishes, left_to_draw, line_of

TIMEOUT_S = 30


def _wanted(step: int, *, has_classes: bool = False) -> Wanted:
    return Wanted(step=step, epoch=step / 10, has_checkpoint=True, has_classes=has_classes)


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_the_newest_and_before_it_the_newest_evaluation_are_left_to_draw(
    evaluated: list[bool],
) -> None:
    waiting: tuple[Wanted, ...] = ()
    for step, has_classes in enumerate(evaluated):
        waiting = left_to_draw(waiting, _wanted(step, has_classes=has_classes))
    counted = [step for step, has_classes in enumerate(evaluated) if has_classes]
    assert [one.step for one in waiting] == sorted({*counted[-1:], len(evaluated) - 1})


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    reading, writing = os.pipe()
    with FileIO(reading) as told, FileIO(writing, "w") as tells:
        yield told, tells
        tells.close()
        # Who still listens would find the other end closed as well, and not ended.
        for listener in threading.enumerate():
            if listener.name == "wishes":
                listener.join(TIMEOUT_S)


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


def test_an_evaluation_that_other_checkpoints_follow_is_drawn_before_the_last(
    pipe: tuple[FileIO, FileIO],
) -> None:
    told, tells = pipe
    ended = threading.Event()
    sent = [_wanted(step, has_classes=step in {3, 7}) for step in range(10)]
    tells.write(b"".join(map(line_of, sent)) + line_of(NoMore()))
    tells.close()
    wishes = Wishes(told, at_end=ended.set)
    assert ended.wait(TIMEOUT_S)
    assert list(wishes) == [sent[7], sent[9]]


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


def test_there_is_time_for_else_only_while_nothing_is_drawn_or_waits() -> None:
    told: Queue[bytes] = Queue()
    found: Queue[bool] = Queue()

    def lines() -> Iterator[bytes]:
        while line := told.get():
            yield line
            told.task_done()

    def tell(message: Wanted | NoMore) -> None:
        told.put(line_of(message))
        # Until it is taken in: who is done before the next was heard is idle, if for a moment.
        told.join()

    wishes = Wishes(lines(), at_end=lambda: None)
    drawing = iter(wishes)

    def is_asked() -> threading.Thread:
        asking = threading.Thread(target=lambda: found.put(wishes.when_idle()), daemon=True)
        asking.start()
        return asking

    assert wishes.when_idle()
    tell(_wanted(1))
    next(drawing)
    asking = is_asked()
    tell(_wanted(2))
    # Begins the second at once.
    next(drawing)
    assert asking.is_alive()
    assert found.empty()
    # Has drawn it, and waits for another.
    rest = threading.Thread(target=lambda: [None for _ in drawing], daemon=True)
    rest.start()
    assert found.get(timeout=TIMEOUT_S)
    tell(NoMore())
    rest.join(TIMEOUT_S)
    is_asked()
    assert not found.get(timeout=TIMEOUT_S)
    told.put(b"")


def test_the_end_is_told_to_who_waits_for_time_while_something_is_drawn(
    pipe: tuple[FileIO, FileIO],
) -> None:
    told, tells = pipe
    wishes = Wishes(told, at_end=lambda: None)
    tells.write(line_of(_wanted(1)))
    next(iter(wishes))
    tells.write(line_of(NoMore()))
    assert not wishes.when_idle()
    tells.close()
