"""Programs run to their end within a bounded time, whatever children they start."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def execute(
    *arguments: object,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
) -> str:
    """Run a program in the repository; return what it printed, fail with it if it failed.

    Prints how long the slow ones took (`pytest -s` shows it as they end).
    """
    command = [str(argument) for argument in arguments]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    finished = False
    started = time.monotonic()
    try:
        output, errors = process.communicate(stdin, timeout=timeout_s)
        finished = True
    finally:
        if not finished:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if (seconds := time.monotonic() - started) >= 5:
        print(f"\n{seconds:4.0f} s: {' '.join(command)}", flush=True)
    assert process.returncode == 0, f"{' '.join(command)} failed:\n{output}\n{errors}"
    return output
