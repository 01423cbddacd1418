"""Locations of requests, kept inside the folders and object stores that the operator allows.

A root is a folder, or the URL of one in an object store. Where a job is accepted its locations are
looked at, and where an attempt opens them again: a link may have been laid since.
"""

from collections.abc import Sequence
from pathlib import Path

from trainer.contract.spec import MAX_LOCATION_CHARACTERS

# Object stores that readers know; http is none, whatever it leads to.
_SCHEMES = {"s3", "gs", "az"}
# What a URL carries besides a name, or escapes, or stands for other names.
_MARKS = frozenset("?#%\\*[]")


class ConfinementError(ValueError):
    """A location names nothing that may be used; the message says why and what to do."""


def is_url(location: str) -> bool:
    """Tell a URL from a path."""
    return "://" in location


def path_roots(roots: Sequence[str]) -> tuple[Path, ...]:
    """Return the roots that are folders of this machine."""
    return tuple(Path(root) for root in roots if not is_url(root))


def confined_location(location: str, roots: Sequence[str], file_name: str, *, mend: str) -> str:
    """Return the true path, or the URL, of a file that a location names, or its folder.

    `mend` says what to do about one that lies outside the roots. Raises ConfinementError.
    """
    if not is_url(location):
        return str(confined(location, path_roots(roots), file_name, mend=mend))
    url = plain_url(location)
    if not any(url == root or url.startswith(f"{root}/") for root in roots):
        raise ConfinementError(f"{url!r} lies outside {_listed(roots)}; {mend}")
    file = url if url.endswith(f"/{file_name}") else f"{url}/{file_name}"
    if len(file) > MAX_LOCATION_CHARACTERS:
        raise ConfinementError(
            f"{file!r} is longer than {MAX_LOCATION_CHARACTERS:,} characters; move it to a "
            "shorter one"
        )
    return file


def plain_url(location: str) -> str:
    """Return a URL of an object store, SCHEME://BUCKET/A/B, without a slash at the end. Pure.

    Raises ConfinementError for any other, which never shows a password.
    """
    scheme, _, path = location.partition("://")
    if scheme not in _SCHEMES:
        raise ConfinementError(
            f"a URL of kind {scheme[:20]!r} is not read; name a folder, or a URL of s3, gs or az"
        )
    path = path.rstrip("/")
    parts = path.split("/")
    if "@" in parts[0]:
        raise ConfinementError(
            f"the {scheme} URL holds credentials; leave them out, and give them to the machines "
            "that read it"
        )
    if {"", ".", ".."} & set(parts):
        raise ConfinementError(f"{location!r} has a part that is empty, . or ..; leave it out")
    mark = next((mark for mark in path if mark in _MARKS or not mark.isprintable()), None)
    if mark is not None:
        raise ConfinementError(f"{location!r} holds {mark!r}; name it as {scheme}://BUCKET/A/B")
    return f"{scheme}://{path}"


def confined(location: str, roots: Sequence[Path], file_name: str, *, mend: str) -> Path:
    """Return the true path of a file that a location names, or its folder: links resolved.

    A relative location is one below a root, the first that has it. `mend` says what to do about
    one that lies outside the roots. Raises ConfinementError.
    """
    if is_url(location):
        raise ConfinementError(f"{location!r} is a URL; only a path will do here")
    if not roots:
        raise ConfinementError(f"{location!r} is a path, and no folder is allowed; {mend}")
    try:
        true = _find(Path(location), roots).resolve()
        if true.is_dir():
            true = (true / file_name).resolve()
        inside = any(true.is_relative_to(root.resolve()) for root in roots)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfinementError(f"{location!r} is not a usable path: {error}") from error
    if not inside:
        raise ConfinementError(f"{location!r} lies outside {_listed(roots)}; {mend}")
    if len(str(true)) > MAX_LOCATION_CHARACTERS:
        # What is stored must be read again.
        raise ConfinementError(
            f"the true path of {location!r} is longer than {MAX_LOCATION_CHARACTERS:,} characters; "
            "move it to a shorter one"
        )
    return true


def _listed(roots: Sequence[str | Path]) -> str:
    return ", ".join(map(str, roots))


def _find(path: Path, roots: Sequence[Path]) -> Path:
    candidates = [root / path for root in roots]
    return next((candidate for candidate in candidates if candidate.exists()), candidates[0])
