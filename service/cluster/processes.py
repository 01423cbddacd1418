"""Which process a number stands for, since numbers are used again."""

from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def start_of(pid: int) -> str | None:
    """Return the boot and the tick since then in which a process started; None: there is none.

    Unlike a time of day, which psutil reckons from the clock, it stays as it is when that is set.
    """
    fields = _fields(pid)
    return None if fields is None else f"{_BOOT_ID.read_text().strip()} {fields[19]}"


def session_of(pid: int) -> int | None:
    """Return the session of a process, which is the number of its first; None: it is gone."""
    fields = _fields(pid)
    return None if fields is None else int(fields[3])


def same_boot(start: str) -> bool:
    """Say whether a start, as `start_of` tells it, lies in the present boot."""
    return start.split(maxsplit=1)[0] == _BOOT_ID.read_text().strip()


def _fields(pid: int) -> list[str] | None:
    """Return proc(5)'s fields of /proc/PID/stat from the third on."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second, a name in brackets, may hold spaces and brackets itself.
    return stat.rpartition(")")[2].split()
