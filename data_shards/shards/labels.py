"""Labels and classes of tars that anybody packed; pure."""

import json
import re
from collections.abc import Sequence
from enum import StrEnum

from data_shards.errors import ForeignSetError
from data_shards.manifest import ClassEntry

Label = int | str
"""A class's number, or its name."""
# Assumed: five times ImageNet's synsets.
MAX_CLASSES = 100_000
MAX_LABEL_BYTES = 1 << 20
"""Of a file that holds a label, perhaps among other things."""
_MAX_NAME = 400


class SampleSkip(StrEnum):
    """Why a sample of a tar cannot be one of a set; besides what is wrong with its image."""

    NO_IMAGE = "no_image"
    NO_LABEL = "no_label"
    UNUSABLE_LABEL = "unusable_label"
    """Neither a number from 0 to 99,999 nor a name; or not where it must be in a .json."""


def label_of(content: bytes, field: str | None) -> Label | None:
    """Return what a .cls says, or the field of that name of a .json; None if that is no label."""
    try:
        if field is None:
            return _usable(content.decode("utf-8").strip())
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return _usable(document.get(field)) if isinstance(document, dict) else None


def _usable(value: object) -> Label | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    # True is an int, too.
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < MAX_CLASSES else None
    if isinstance(value, str) and 0 < len(value) <= _MAX_NAME and not _is_number(value):
        return value
    return None


def _is_number(text: str) -> bool:
    """Tell -1 and 3.5 from names."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def number_classes(
    labels: set[Label], classes: Sequence[ClassEntry] | None
) -> tuple[tuple[ClassEntry, ...], dict[Label, int]]:
    """Return the classes, and the number of the class that each label means.

    By `classes`, where they are known: numbers count them from 0, names are theirs, or their
    synsets. Else numbers have themselves as names, and names are numbered in their order.
    Raises ForeignSetError where labels and classes do not go together.
    """
    numbers = {label for label in labels if isinstance(label, int)}
    names = {label for label in labels if isinstance(label, str)}
    if classes is not None:
        return tuple(classes), _by_classes(numbers, names, classes)
    if numbers and names:
        raise ForeignSetError(
            f"some labels are numbers, such as {min(numbers)}, and some are names, such as "
            f"{min(names)!r}; name the classes, a line each, in a classes.txt beside the tars"
        )
    if names:
        ordered = sorted(names)
        if len(ordered) > MAX_CLASSES:
            raise ForeignSetError(
                f"the labels are {len(ordered):,} different names, more than {MAX_CLASSES:,}; is "
                "--label-field the right one?"
            )
        return (
            tuple(ClassEntry(name=name) for name in ordered),
            {name: number for number, name in enumerate(ordered)},
        )
    count = max(numbers, default=-1) + 1
    return (
        tuple(ClassEntry(name=str(number)) for number in range(count)),
        {number: number for number in numbers},
    )


def _by_classes(
    numbers: set[int], names: set[str], classes: Sequence[ClassEntry]
) -> dict[Label, int]:
    of_name: dict[str, int] = {}
    for number, entry in enumerate(classes):
        for name in {entry.name, entry.synset} - {None}:
            if of_name.setdefault(str(name), number) != number and name in names:
                raise ForeignSetError(
                    f"the label {name!r} is the name of two classes, {of_name[str(name)]} and "
                    f"{number}; give them different names in the file of the classes"
                )
    if numbers and max(numbers) >= len(classes):
        raise ForeignSetError(
            f"there is the label {max(numbers)}, where {len(classes):,} classes are named, which "
            "are counted from 0; mend the file of the classes"
        )
    if unknown := sorted(names - of_name.keys()):
        raise ForeignSetError(
            f"there is the label {unknown[0]!r}, which is the name of no class; add it to the file "
            "of the classes"
        )
    return {**{number: number for number in numbers}, **{name: of_name[name] for name in names}}
