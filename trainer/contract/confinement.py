"""Locations of requests, kept inside the folders and object stores that the operator allows.

A root is a folder, or the URL of one in an object store. Where a job is accepted its locations are
looked at, and where an attempt opens them again: a link may have been laid since.
"""

from collections.abc import Sequence
from pathlib import Path

from data_shards.errors import StorageError
from data_shards.storage.location import is_url, parse_url
from trainer.contract.spec import MAX_LOCATION_CHARACTERS


class ConfinementError(ValueError):
    """A location names nothing that may be used; the message says why and what to do."""


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
    try:
        return parse_url(location).url
    except StorageError as error:
        raise ConfinementError(str(error)) from error


def confined(location: str, roots: Sequence[Path], file_name: str, *, mend: str) -> Path:
    """Return the true path of a file that a location names, or its folder: links resolved.

    A relative location is one below a root, the first that has it. `mend` says what to do about
    one that lies outside the roots. Raises ConfinementError.
    """
    if is_url(location):
        raise ConfinementError("this is a URL; only a path will do here")
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
