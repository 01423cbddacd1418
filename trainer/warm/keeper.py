"""Keeps the warm process there: starts it again when it has died, ever later, and notes it.

    python -m trainer.warm.keeper SOCKET [MODULE ...]

Each death is a line in SOCKET.ended, of which the control plane tells in its log.
"""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from trainer.warm.fork_server import die_with_starter, told_starter

# Assumed: an import that fails takes seconds of a core each time.
FIRST_S = 1.0
LONGEST_S = 300.0
# One that has lived so long died of something else than its start.
LASTING_S = 60.0


def pause_s(num_short_lives: int) -> float:
    """Return how long to wait after so many in a row that died soon: it doubles. Pure."""
    return float(min(FIRST_S * 2.0 ** min(num_short_lives, 30), LONGEST_S))


def main() -> None:
    """Start it again for ever; ends with SIGTERM, and with the process that started it."""
    die_with_starter()
    notes = Path(f"{sys.argv[1]}.ended")
    num_short_lives = 0
    while True:
        began_at = time.monotonic()
        ended = _run_once(sys.argv[1:])
        lived_s = time.monotonic() - began_at
        num_short_lives = 0 if lived_s >= LASTING_S else num_short_lives + 1
        wait_s = pause_s(num_short_lives)
        # A full disk costs the note, not the warm process.
        with suppress(OSError), notes.open("a") as file:
            file.write(f"{ended} after {lived_s:,.0f} s; it is started again in {wait_s:,.0f} s\n")
        time.sleep(wait_s)


def _run_once(arguments: list[str]) -> str:
    """Run the warm process until it ends, and say how; it dies with this one."""
    command = [sys.executable, "-m", "trainer.warm.fork_server", *arguments]
    try:
        return f"exit code {subprocess.run(command, env=told_starter(), check=False).returncode}"
    except OSError as error:
        # Likeliest where memory is short, of which the one before may have died.
        return f"no start ({error.strerror})"


if __name__ == "__main__":
    main()
