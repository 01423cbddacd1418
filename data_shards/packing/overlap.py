"""Whether packing would write among the images that it reads."""

from pathlib import Path

from data_shards.errors import PackError
from data_shards.sources.source import Source
from data_shards.storage.location import is_url, parse_url


def refuse_overlap(source: Source, out: str | Path) -> None:
    """Raise PackError if a source's files lie in the folder `out`, or `out` below its folders.

    Shards could replace them while they are read; and whatever else came of it, the next run would
    find another source.
    """
    target = _parts(out)
    for folder in source.lies_in:
        if target == _parts(folder):
            raise PackError(
                f"{out} holds the very files that are to be packed, which its shards could "
                "replace; choose another folder"
            )
    for folder in source.lies_below:
        parts = _parts(folder)
        if target[: len(parts)] == parts:
            raise PackError(
                f"{out} lies in {folder}, whose folders are to be packed, and would be taken for "
                "one of them; choose a folder outside"
            )


def _parts(location: str | Path) -> tuple[str, ...]:
    """Take a location apart, wherever links lead; equal if and only if it is the same folder."""
    if is_url(location):
        return (parse_url(location).scheme, *parse_url(location).path.split("/"))
    return Path(location).resolve().parts
