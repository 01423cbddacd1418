"""What paths of images tell: splits and classes. Pure."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from data_shards.errors import SourceError
from data_shards.sources.source import printable

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
)
# What data sets call the folders of their splits.
SPLIT_NAMES = frozenset({"train", "val", "validation", "test"})


def is_image(name: str) -> bool:
    """Tell by a file's name whether it is taken for an image."""
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def is_ignored(folder: str) -> bool:
    """Tell by a folder's name whether it is none of a source: hidden, or what macOS adds to it."""
    return folder.startswith(".") or folder == "__MACOSX"


def names_of_split(split: str) -> tuple[str, ...]:
    """Return what a split may be called, the likeliest first."""
    return (split, "val") if split == "validation" else (split,)


def choose_split(folders: Sequence[str], split: str, where: str) -> str | None:
    """Return which of the folders in `where` is a split's; None if they are no splits.

    Raises SourceError if they are splits, but not this one.
    """
    names = names_of_split(split)
    found = next((name for name in names if name in folders), None)
    if found is not None:
        return found
    splits = [name for name in folders if name.lower() in SPLIT_NAMES]
    # One among others may be a class: there are pictures of trains.
    if splits and (len(splits) > 1 or splits == list(folders)):
        raise SourceError(
            f"{where} has no folder {' or '.join(names)}, but {', '.join(splits)}, which look "
            "like splits and not like classes; choose one of them with --split, or name the "
            "folder of the class folders itself"
        )
    return None


def refuse_odd_classes(names: Sequence[str], where: str) -> None:
    """Raise SourceError if a class has a name that cannot be written into a manifest."""
    for name in names:
        if (readable := printable(name)) != name:
            raise SourceError(f"{where} has a class {readable}, whose name is not UTF-8; rename it")
