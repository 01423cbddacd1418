"""`python -m trainer.pictures RUN_DIR/attempts/NUMBER`: draws what is wanted on standard input.

It computes with one thread, only when nobody else wants the processor, and never on a GPU.
"""

import os
import signal
import sys
from contextlib import suppress
from io import FileIO
from pathlib import Path

from trainer.pictures.wanted import Wishes

_LEAST_PRIORITY = 19
# Where memory is short, the kernel ends this process first.
_KILLED_FIRST = "1000"


def main(folder: Path) -> None:
    """Draw until no more is wanted."""
    # Ctrl-C reaches the whole process group; the attempt decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_LEAST_PRIORITY)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_KILLED_FIRST)
    # Without a buffer, whose lock the thread would hold as the process ends.
    wishes = Wishes(FileIO(0, closefd=False))
    # Importing torch takes seconds, in which the attempt may end.
    import torch  # noqa: PLC0415

    from trainer.attempt.attempt_folder import attempt_at, log_to  # noqa: PLC0415
    from trainer.contract.order_file import read_order  # noqa: PLC0415
    from trainer.pictures.artist import Artist  # noqa: PLC0415
    from trainer.pictures.curves import Curves  # noqa: PLC0415
    from trainer.pictures.training_sheet import TrainingSheet  # noqa: PLC0415

    torch.set_num_threads(1)
    attempt = attempt_at(folder)
    log_to(attempt)
    order = read_order(attempt)
    artist, curves = Artist(attempt, order), Curves(attempt, order.spec)
    sheet = TrainingSheet(attempt, order.spec, wishes.when_idle)
    for wanted in wishes:
        artist.draw(wanted)
        curves.draw()
        sheet.begin()
    # A job may be measured once more after its last checkpoint.
    curves.draw()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
