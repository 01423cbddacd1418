"""An attempt as Ray would run it, in this process: `python -m tests.faults.attempt_here FOLDER`."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.faults.stand_in_ray import PACE_VARIABLE
from trainer.attempt.attempt_folder import attempt_at, log_to
from trainer.attempt.ledger import Ledger
from trainer.attempt.output import capture_output
from trainer.contract.order_file import read_order
from trainer.running import loop
from trainer.running.replica import failure, record_failure, record_outcome, run_replica

CPU = torch.device("cpu")


class PacedLedger(Ledger):
    """Enters no step sooner than a while after the one before, so that faults find a job at work.

    However fast the machine is; what is computed stays as it is.
    """

    _pace_s = float(os.environ.get(PACE_VARIABLE, "0"))
    _next_s = 0.0

    def write(self, **step: Any) -> None:
        """Wait, and enter a step."""
        time.sleep(max(self._next_s - time.monotonic(), 0))
        self._next_s = time.monotonic() + self._pace_s
        super().write(**step)


def main(folder: Path) -> int:
    """Run the attempt to its end; return the exit status of its process."""
    attempt = attempt_at(folder)
    capture_output(attempt)
    log_to(attempt)
    loop.Ledger = PacedLedger  # type: ignore[attr-defined]
    try:
        with record_failure(attempt, rank=0):
            outcome = run_replica(read_order(attempt), attempt, (CPU, CPU))
    except Exception as error:  # noqa: BLE001  # as the driver does: it is told as the outcome
        outcome = failure(error)
    return int(record_outcome(attempt, outcome).outcome == "failed")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
