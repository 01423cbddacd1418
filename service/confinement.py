"""Paths of requests, kept inside the folders that the operator allows."""

from collections.abc import Sequence
from pathlib import Path

from trainer.contract.spec import MAX_LOCATION_CHARACTERS


class ConfinementError(ValueError):
    """A location names no path that may be used; the message says why and what to do."""


def confined(location: str, roots: Sequence[Path], file_name: str, *, mend: str) -> Path:
    """Return the true path of a file that a location names, or its folder: links resolved.

    A relative location is one below a root, the first that has it. `mend` says what to do about
    one that lies outside the roots. Raises ConfinementError.
    """
    if "://" in location:
        raise ConfinementError(f"{location!r} is a URL; this release reads local paths only")
    try:
        true = _find(Path(location), roots).resolve()
        if true.is_dir():
            true = (true / file_name).resolve()
        inside = any(true.is_relative_to(root.resolve()) for root in roots)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfinementError(f"{location!r} is not a usable path: {error}") from error
    if not inside:
        folders = ", ".join(map(str, roots))
        raise ConfinementError(f"{location!r} lies outside {folders}; {mend}")
    if len(str(true)) > MAX_LOCATION_CHARACTERS:
        # What is stored must be read again.
        raise ConfinementError(
            f"the true path of {location!r} is longer than {MAX_LOCATION_CHARACTERS:,} characters; "
            "move it to a shorter one"
        )
    return true


def _find(path: Path, roots: Sequence[Path]) -> Path:
    candidates = [root / path for root in roots]
    return next((candidate for candidate in candidates if candidate.exists()), candidates[0])
