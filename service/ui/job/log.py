"""The log of a job as the page shows it: its last lines, and what is printed then."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.run_files.logs import Place, read_piece, tail_of

logger = logging.getLogger(__name__)

TAIL_LINES = 300
# Of a log that grows faster, more comes with the next look.
_PIECES_AT_ONCE = 16


@dataclass(kw_only=True)
class LogReader:
    """Reads the last lines of an attempt's log, and then what follows, in later attempts too."""

    run: Path
    attempt: int
    """0: the job has none yet."""
    follows: bool = True
    """Whether later attempts are gone on to."""
    trouble: str = ""
    """Why it cannot be read; '': it can."""
    _place: Place | None = field(default=None)

    def read(self, attempts: Sequence[int], *, is_over: bool) -> str:
        """Return what is new. `is_over`: the job has ended."""
        told: list[str] = []
        try:
            for _ in range(_PIECES_AT_ONCE):
                text = self._next(attempts, is_over=is_over)
                if text is None:
                    break
                told.append(text)
        except OSError as error:
            # It is read again with the next look: the disk may come back.
            self.trouble = f"the log cannot be read: {error.strerror or error}"
            logger.warning("the log of %s cannot be read: %s", self.run.name, error)
        else:
            self.trouble = ""
        return "".join(told)

    def _next(self, attempts: Sequence[int], *, is_over: bool) -> str | None:
        later = [number for number in attempts if number > self.attempt] if self.follows else []
        if self.attempt == 0:
            if not later:
                return None
            self.attempt, self._place = later[0], None
            return ""
        if self._place is None:
            self._place = tail_of(self.run, [self.attempt], TAIL_LINES)
        ends = is_over or bool(later) or not self.follows
        piece = read_piece(self.run, self._place, is_over=ends)
        if piece is not None:
            self._place = piece.following
            return piece.text
        if not later:
            return None
        self.attempt, self._place = later[0], Place(later[0], 0)
        return f"==> attempt {self.attempt} <==\n"
