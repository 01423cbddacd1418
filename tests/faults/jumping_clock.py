"""A service, or an attempt, whose clock a test sets while it runs: libfaketime, and its mend."""

import select
import sys
import time
from pathlib import Path

from service.terminal.cli import main as serve

# Debian has it in the folder of the machine's kind.
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


class JumpingClock:
    """The machine's clock as processes see it that are started with `environment`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Seconds of true time after which it is looked at again.
            "FAKETIME_CACHE_DURATION": "1",
            # Those that nobody sets go on as they are.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead_s: int) -> None:
        """Set it so far ahead of the true time, which is seen within a second."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead_s:+d}\n")
        new.replace(self._file)


def mend_sleep() -> None:
    """Let Python sleep: libfaketime 0.9.10 takes it for wrong to wait for a clock it leaves."""

    def sleep(seconds: float) -> None:
        select.select([], [], [], seconds)

    time.sleep = sleep  # type: ignore[assignment]


def run() -> int:
    """Serve, or run the attempt that is named, by how this is started."""
    mend_sleep()
    if sys.argv[1] == "serve":
        serve()
        return 0
    # Takes torch, and seconds, which a service needs not.
    from tests.faults import attempt_here  # noqa: PLC0415

    return attempt_here.main(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(run())
