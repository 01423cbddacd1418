"""Names of classes: what a synset's words are, and files that tell them."""

import re
from collections.abc import Mapping, Sequence

from data_shards.errors import SourceError
from data_shards.manifest import ClassEntry
from data_shards.storage.folder import Folder

SYNSET = re.compile(r"n\d{8}")
# Files that tell a synset's words, as Kaggle and Caffe distribute them; a line each.
SYNSET_FILES = ("LOC_synset_mapping.txt", "synset_words.txt")
CLASSES_FILE = "classes.txt"
# As its authors call its ten classes.
_IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
# ImageNet's 21,841 synsets take 2 MB.
_MAX_FILE_BYTES = 16 << 20
_MAX_NAME = 400


def class_entry(name: str, words: Mapping[str, str]) -> ClassEntry:
    """Return the class of a folder's or synset's name, with its words if they are known."""
    synset = name if SYNSET.fullmatch(name) else None
    return ClassEntry(name=words.get(name, name)[:_MAX_NAME], synset=synset)


def class_entries(names: Sequence[str], words: Mapping[str, str]) -> tuple[ClassEntry, ...]:
    """Return the classes of folders' names."""
    known = {**_IMAGENETTE, **words} if set(names) == set(_IMAGENETTE) else words
    return tuple(class_entry(name, known) for name in names)


def read_synset_words(folder: Folder) -> dict[str, str]:
    """Return the words of each synset by a file in a folder; none if there is no such file.

    Raises SourceError if the file has a line that is not `SYNSET WORDS`.
    """
    for name in SYNSET_FILES:
        lines = _read_lines(folder, name)
        if lines is None:
            continue
        words = {}
        for number, line in enumerate(lines, 1):
            synset, _, text = line.partition(" ")
            if not SYNSET.fullmatch(synset) or not text.strip():
                raise SourceError(
                    f"{folder.at(name)}: line {number} is not as `n01440764 tench, Tinca tinca`; "
                    "mend it, or take the file away"
                )
            words[synset] = text.strip()
        return words
    return {}


def read_classes(folder: Folder, name: str = CLASSES_FILE) -> tuple[ClassEntry, ...] | None:
    """Return the classes that a file in a folder names, a line each; None without the file.

    A line is a name, or a synset and its words; the first line names label 0.
    """
    lines = _read_lines(folder, name)
    if lines is None:
        return None
    entries = []
    for number, line in enumerate(lines, 1):
        first, _, rest = line.partition(" ")
        words = {first: rest.strip()} if rest.strip() else {}
        if not line.strip():
            raise SourceError(
                f"{folder.at(name)}: line {number} is empty, where it must name class {number - 1}"
            )
        is_synset = SYNSET.fullmatch(first) is not None
        entries.append(class_entry(first if is_synset else line.strip(), words))
    return tuple(entries)


def _read_lines(folder: Folder, name: str) -> list[str] | None:
    try:
        # Some editors begin a file with a mark of UTF-8.
        text = folder.read_bytes(name, _MAX_FILE_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise SourceError(f"{folder.at(name)} is no UTF-8; save it as such") from None
    # str.splitlines would cut names in two at odd characters, which shifts all labels after them.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]
