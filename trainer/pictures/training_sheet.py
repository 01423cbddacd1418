"""The contact sheet of the training set, which a run has once, in the folder of one attempt."""

import logging

from data_shards.errors import DataError
from data_shards.inspection.opened_set import open_set
from data_shards.inspection.sheet_of_set import sheet_of_set
from trainer.contract.durable import write_whole
from trainer.contract.run_directory import AttemptDirectory
from trainer.contract.spec import JobSpec
from trainer.pictures.shown_images import png

_log = logging.getLogger(__name__)

SHEET_NAME = "training-set.png"
# As the page of data shows it. Each image is as large whatever the set's are, so that this bounds
# the file too: 1,800 x 1,000 pixels, uncompressed 5 MB.
_COLUMNS, _ROWS = 10, 4


class TrainingSheet:
    """Draws the sheet of an attempt's training set, unless an earlier attempt has."""

    def __init__(self, attempt: AttemptDirectory, spec: JobSpec) -> None:
        self._attempt = attempt
        self._spec = spec
        self._file = attempt.pictures / SHEET_NAME
        # An evaluation trains on nothing.
        self._is_done = spec.kind != "train"
        self._has_logged = False

    def draw(self) -> None:
        """Draw it if it is not there; what keeps it from that is logged once, and tried again."""
        if self._is_done:
            return
        try:
            if not any(self._attempt.run.glob(f"attempts/*/pictures/{SHEET_NAME}")):
                self._write()
            self._is_done = True
        except (OSError, DataError) as error:
            if not self._has_logged:
                self._has_logged = True
                _log.warning(
                    "the contact sheet of the training set is not drawn, which harms nothing: %s",
                    error,
                )

    def _write(self) -> None:
        opened = open_set(self._spec.data.train)
        sheet = sheet_of_set(
            opened, columns=_COLUMNS, rows=_ROWS, seed=self._spec.seed, by_class=False
        )
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._file, png(sheet))
