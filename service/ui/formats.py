"""Figures as people read them. Pure."""

from datetime import UTC, datetime

NONE = "–"


def duration(seconds: float | None) -> str:
    """Say how long, in the two greatest units."""
    if seconds is None:
        return NONE
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def count(number: float | None) -> str:
    """Write a number with commas; a small one that is not whole with a decimal."""
    if number is None:
        return NONE
    is_whole = isinstance(number, int) or abs(number) >= 100
    return f"{number:,.0f}" if is_whole else f"{number:.1f}"


def decimal(number: float | None, digits: int = 3) -> str:
    """Write a number of so many significant digits, as losses and rates are."""
    return NONE if number is None else f"{number:.{digits}g}"


def percent(ratio: float | None) -> str:
    """Write a share of one with a decimal."""
    return NONE if ratio is None else f"{ratio * 100:.1f} %"


def size(size_bytes: float | None) -> str:
    """Write bytes by the greatest unit."""
    if size_bytes is None:
        return NONE
    left = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if left < 1000:
            return f"{left:.0f} {unit}" if unit == "B" or left >= 100 else f"{left:.1f} {unit}"
        left /= 1000
    return f"{left:.1f} TB"


def moment(at: datetime | None) -> str:
    """Write a moment in UTC to the second."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: datetime) -> str:
    """Write a moment for programs, as in the attribute of a `time` element."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def age(since: datetime, now: datetime) -> str:
    """Say how long ago a moment was."""
    return duration((now - since).total_seconds())
