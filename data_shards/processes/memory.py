"""How much memory a process has held."""

import resource
import sys
from pathlib import Path


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held, shared pages of files among it."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        # Not Linux; macOS counts in bytes.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    # Not ru_maxrss, which a child begins with as its parent's.
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
