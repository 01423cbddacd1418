"""The contact sheet of the training set, which a run has once, in the folder of one attempt.

Nobody waits for it: a thread draws it while nothing else is to be drawn, and ends with the process,
whatever it waits for.
"""

import logging
import threading
from collections.abc import Callable

from data_shards.inspection.opened_set import open_set
from data_shards.inspection.sheet_of_set import sheet_of_set
from trainer.contract.durable import write_whole
from trainer.contract.pictures import SHEET_NAME
from trainer.contract.run_directory import AttemptDirectory
from trainer.contract.spec import JobSpec
from trainer.pictures.shown_images import png

_log = logging.getLogger(__name__)

# As the page of data shows it. Each image is as large whatever the set's are, so that this bounds
# the file too: 1,800 x 1,000 pixels, uncompressed 5 MB.
_COLUMNS, _ROWS = 10, 4
# Assumed: a set that is away for so many checkpoints stays so.
_MOST_TRIES = 3


class _NoTimeError(Exception):
    """The attempt ends."""


class TrainingSheet:
    """Draws the sheet of an attempt's training set, unless an earlier attempt has.

    `when_idle` waits until there is time for it; False: there will be none.
    """

    def __init__(
        self, attempt: AttemptDirectory, spec: JobSpec, when_idle: Callable[[], bool]
    ) -> None:
        self._attempt = attempt
        self._spec = spec
        self._when_idle = when_idle
        self._file = attempt.pictures / SHEET_NAME
        # An evaluation trains on nothing.
        self._tries_left = _MOST_TRIES if spec.kind == "train" else 0
        self._thread: threading.Thread | None = None
        self._has_logged = False

    def begin(self) -> threading.Thread | None:
        """Return the thread that draws it; None: it is there, or was tried often enough."""
        if self._thread is not None and self._thread.is_alive():
            return self._thread
        if not self._tries_left:
            return None
        self._tries_left -= 1
        self._thread = threading.Thread(target=self._draw, name="training sheet", daemon=True)
        self._thread.start()
        return self._thread

    def _draw(self) -> None:
        """Draw it if it is not there; what keeps it from that is logged once."""
        try:
            if not any(self._attempt.run.glob(f"attempts/*/pictures/{SHEET_NAME}")):
                self._write()
        except _NoTimeError:
            return
        except Exception as error:  # noqa: BLE001  # nothing of it is to keep steps undrawn
            if not self._has_logged:
                self._has_logged = True
                _log.warning(
                    "the contact sheet of the training set is not drawn, which harms nothing: %s",
                    error,
                )
        else:
            self._tries_left = 0

    def _write(self) -> None:
        self._wait()
        opened = open_set(self._spec.data.train)
        sheet = sheet_of_set(
            opened,
            columns=_COLUMNS,
            rows=_ROWS,
            seed=self._spec.seed,
            by_class=False,
            before_each=self._wait,
        )
        self._wait()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._file, png(sheet))

    def _wait(self) -> None:
        if not self._when_idle():
            raise _NoTimeError
