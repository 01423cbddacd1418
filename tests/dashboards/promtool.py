"""Debian's promtool."""

import os
import shutil
import subprocess

import pytest

# In CI the tests fail without it, so that a missing install step shows.
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ,
    reason="promtool is not installed (Debian: apt-get install prometheus)",
)


def promtool(*arguments: object) -> None:
    """Run it, and expect success."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
