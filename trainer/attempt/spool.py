"""The spool of an attempt's events: the truth about them, of which the control plane gets a copy.

Nothing is held in memory but how far the control plane has stored, however long it is away.
"""

import threading
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from trainer.contract.durable import naming_a_full_disk
from trainer.contract.events import AttemptEvent, AttemptEventData


class Spool:
    """A line an event. Any thread may append; one thread, the sender, reads back."""

    def __init__(self, path: Path) -> None:
        """Open for appending. Raises DiskFullError, as do `append` and `close`."""
        self._path = path
        self._lock = threading.Lock()
        with naming_a_full_disk(path):
            self._file = path.open("ab")
        self._begin_bytes = self._file.tell()
        self._last_number = 0
        # The cursor: the events up to this number are stored, the next begins at this offset.
        self._stored_number = 0
        self._offset_bytes = self._begin_bytes

    def close(self) -> None:
        """Close the file; what it holds may still be read back."""
        with naming_a_full_disk(self._path):
            self._file.close()

    def append(self, data: AttemptEventData) -> None:
        """Give an event the next number and the time, and write it down."""
        with self._lock:
            self._last_number += 1
            event = AttemptEvent(number=self._last_number, at=datetime.now(UTC), data=data)
            with naming_a_full_disk(self._path):
                self._file.write(event.model_dump_json().encode() + b"\n")
                self._file.flush()

    @property
    def num_unsent(self) -> int:
        """Events that the control plane has not stored."""
        return self._last_number - self._stored_number

    def unsent(self, limit: int) -> tuple[AttemptEvent, ...]:
        """Read the earliest of them, at most `limit`. Raises OSError."""
        with self._path.open("rb") as file:
            file.seek(self._offset_bytes)
            # A line without its end is being written.
            return tuple(
                AttemptEvent.model_validate_json(line)
                for line in islice(file, limit)
                if line.endswith(b"\n")
            )

    def mark_stored(self, through: int) -> None:
        """Take the control plane's word for how far it has stored. Raises OSError."""
        if through < self._stored_number:
            # It has lost what it had; it gets all again and keeps what it lacks.
            self._stored_number, self._offset_bytes = 0, self._begin_bytes
        with self._path.open("rb") as file:
            file.seek(self._offset_bytes)
            while self._stored_number < through and (line := file.readline()).endswith(b"\n"):
                self._stored_number += 1
                self._offset_bytes += len(line)
