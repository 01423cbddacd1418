"""Going through what a device is given to do while it has the next already."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def one_behind(items: Iterable[T], *, at_once: Callable[[T], bool]) -> Iterator[T]:
    """Yield each item, in order, when the next has been taken: never more than one is held back.

    An item that is `at_once` is yielded before the next is taken, and so is the last. One that is
    held when taking the next raises is not yielded.
    """
    held: list[T] = []
    for item in items:
        held.append(item)
        while held and (len(held) > 1 or at_once(item)):
            yield held.pop(0)
    yield from held
