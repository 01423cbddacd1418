"""What the process that draws is told: lines of JSON on its standard input.

It draws what it was told last: where it falls behind, it leaves out what was wanted before, but for
the newest evaluation. When its input ends, whoever wanted the pictures is gone, and so it ends at
once.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from pydantic import TypeAdapter

from trainer.contract.model import Record


class Wanted(Record):
    """The pictures of one step."""

    kind: Literal["wanted"] = "wanted"
    step: int
    epoch: float
    has_checkpoint: bool
    """Whether this attempt committed a checkpoint after this step."""
    has_classes: bool
    """Whether the counts of an evaluation lie in the step's folder."""


class NoMore(Record):
    """What is wanted now is the last."""

    kind: Literal["no_more"] = "no_more"


_MESSAGE: TypeAdapter[Wanted | NoMore] = TypeAdapter(Wanted | NoMore)


def line_of(message: Wanted | NoMore) -> bytes:
    """Return a message as it is sent."""
    return message.model_dump_json().encode() + b"\n"


def left_to_draw(waiting: Sequence[Wanted], wanted: Wanted) -> tuple[Wanted, ...]:
    """Return what is still to be drawn, in order, when another step is wanted: pure.

    The newest, and before it the newest with the counts of an evaluation: they are made once.
    """
    counted = [] if wanted.has_classes else [one for one in waiting if one.has_classes]
    return (*counted[-1:], wanted)


def _end() -> None:
    os._exit(0)


class Wishes:
    """Yields what is left to draw; a thread reads, so that the end of all is noticed.

    `at_end` is called there when the input ends.
    """

    def __init__(self, told: Iterable[bytes], *, at_end: Callable[[], None] = _end) -> None:
        self._told = told
        self._at_end = at_end
        self._waiting: tuple[Wanted, ...] = ()
        self._is_drawing = False
        self._is_last = False
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, name="wishes", daemon=True).start()

    def __iter__(self) -> Iterator[Wanted]:
        """Wait for what is wanted, until no more is."""
        while True:
            with self._changed:
                self._is_drawing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._is_last)
                waiting, self._waiting = self._waiting[:1], self._waiting[1:]
                self._is_drawing = bool(waiting)
            if not waiting:
                return
            yield from waiting

    def when_idle(self) -> bool:
        """Wait until nothing is drawn or waits to be; False: nothing will be any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_last or not (self._is_drawing or self._waiting))
            return not self._is_last

    def _listen(self) -> None:
        for line in self._told:
            message = _MESSAGE.validate_json(line)
            with self._changed:
                if isinstance(message, Wanted):
                    self._waiting = left_to_draw(self._waiting, message)
                else:
                    self._is_last = True
                self._changed.notify_all()
        self._at_end()
