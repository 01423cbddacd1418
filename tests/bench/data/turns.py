"""The contender's side of the bench: a process that takes its turn when it is told to.

Imports nothing but the standard library, so that it runs in anybody's environment. On standard
input comes the name of a command a line; on standard output goes a line of JSON for each, the first
one, unasked, when all is ready.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping

# An epoch of some contenders is over in a tenth of a second: too short a time to measure.
_TURN_S = 1.0


def take_turns(
    epoch: Callable[[], Iterable[int]],
    *,
    about: Mapping[str, object],
    **others: Callable[[], dict[str, object]],
) -> None:
    """Answer until standard input ends.

    `epoch` gives the number of images of each batch as it is handed over; `about` is told when
    ready; `others` are commands besides "turn".
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    # What libraries print is no answer.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    commands = {"turn": lambda: _turn(epoch)} | others
    print(json.dumps(about), file=answers)
    for line in sys.stdin:
        print(json.dumps(commands[line.strip()]()), file=answers)


def _turn(epoch: Callable[[], Iterable[int]]) -> dict[str, object]:
    """Take whole epochs, each timed from its first batch handed over to its last."""
    images, seconds = 0, 0.0
    while seconds < _TURN_S:
        counts = iter(epoch())
        next(counts)
        started = time.perf_counter()
        images += sum(counts)
        seconds += time.perf_counter() - started
    return {"images": images, "seconds": seconds}
