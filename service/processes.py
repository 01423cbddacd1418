"""Which process a number stands for, since numbers are used again."""

from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def start_of(pid: int) -> str | None:
    """Return the boot and the tick since then in which a process started; None: there is none.

    Unlike a time of day, which psutil reckons from the clock, it stays as it is when that is set.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Field 22 of proc(5). The second, a name in brackets, may hold spaces and brackets itself.
    ticks = stat.rpartition(")")[2].split()[19]
    return f"{_BOOT_ID.read_text().strip()} {ticks}"
