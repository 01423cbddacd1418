"""How each replica gets on, as it tells rank 0: by a small file of its own, every few seconds.

Not by a collective: it is asked for when one does not come back.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from pydantic import ValidationError

from trainer.contract.model import Record
from trainer.contract.run_directory import AttemptDirectory


class Pulse(Record):
    """How a replica stood when it last told."""

    beat: int = 0
    """Grows with each that is told: one that stays the same is of a replica that tells no more."""
    moves: int = 0
    """Grows with all that is done."""
    waits_for_data: bool = False
    is_done: bool = False
    """Whether it has nothing more to do, and tells no more."""


class News(NamedTuple):
    """What the pulses of others say that they did not say before."""

    moved: bool = False
    wait_for_data: bool = False
    still_wait: bool = False
    """One waits for data as it did when it told before, and all the time between."""


def write_pulse(attempt: AttemptDirectory, rank: int, pulse: Pulse) -> None:
    """Tell how a replica gets on. Raises OSError.

    Written over in place: of a file that is opened anew a file server tells what was written last,
    while a new one by the same name may not be seen for a minute.
    """
    attempt.pulse(rank).write_text(pulse.model_dump_json())


def read_pulses(attempt: AttemptDirectory, num_replicas: int) -> dict[int, Pulse]:
    """Return the pulses of all replicas but rank 0, where they can be read, by rank."""
    pulses = {}
    for rank in range(1, num_replicas):
        # It may not be there yet, or be half written: the next will do.
        with suppress(OSError, ValidationError):
            pulses[rank] = Pulse.model_validate_json(attempt.pulse(rank).read_bytes())
    return pulses


def news(before: Mapping[int, Pulse], after: Mapping[int, Pulse]) -> News:
    """Return what is new of those who told anything since."""
    told = {rank: pulse for rank, pulse in after.items() if before.get(rank) != pulse}
    return News(
        moved=any(pulse.moves != before.get(rank, Pulse()).moves for rank, pulse in told.items()),
        wait_for_data=any(pulse.waits_for_data for pulse in told.values()),
        still_wait=any(
            pulse.waits_for_data
            and (last := before.get(rank, Pulse())).waits_for_data
            and pulse.moves == last.moves
            for rank, pulse in told.items()
        ),
    )
