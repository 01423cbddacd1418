"""ILSVRC2012 as Kaggle distributes it: unpacked, the validation's labels in a table.

The archive of its ImageNet Object Localization Challenge holds ILSVRC/Data/CLS-LOC/train, a folder
for each synset, ILSVRC/Data/CLS-LOC/val, without folders, LOC_synset_mapping.txt, and
LOC_val_solution.csv, of which each line is `IMAGE,SYNSET BOX SYNSET BOX ...`.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from data_shards.errors import SourceError
from data_shards.sources.class_names import SYNSET_FILES, class_entries, read_synset_words
from data_shards.sources.image_folder import FileReader, file_size, open_image_folder
from data_shards.sources.image_paths import names_of_split
from data_shards.sources.listing import ListedImage, Listing
from data_shards.sources.source import Source
from data_shards.storage.local_folder import LocalFolder

_DATA = Path("ILSVRC", "Data", "CLS-LOC")
_SOLUTION = "LOC_val_solution.csv"
# It has 2 MB.
_MAX_BYTES = 64 << 20


def is_kaggle(folder: Path) -> bool:
    """Tell whether a folder holds what the archive does."""
    return (folder / _DATA).is_dir()


def open_kaggle(folder: Path, split: str) -> Source:
    """List a split. Raises SourceError, which says what is missing."""
    words = read_synset_words(LocalFolder(folder))
    if not words:
        raise SourceError(
            f"{folder} lacks {SYNSET_FILES[0]}, which names the classes; put it there"
        )
    synsets = sorted(words)
    if split == "train":
        root = folder / _DATA / "train"
        if not root.is_dir():
            raise SourceError(f"{root} does not exist; unpack the archive again")
        source = open_image_folder(root, words)
        found = [each.synset for each in source.classes]
        if found != synsets:
            odd = sorted({str(each) for each in found}.symmetric_difference(synsets))[0]
            raise SourceError(
                f"{root} and {SYNSET_FILES[0]} do not hold the same synsets: {odd} is in one of "
                "them alone; unpack the archive again"
            )
        return source
    if split not in names_of_split("validation"):
        raise SourceError(
            f"ILSVRC2012 tells the labels of its train and validation images, not of {split!r}; "
            "choose one of them with --split"
        )
    labels = {synset: label for label, synset in enumerate(synsets)}
    root = folder / _DATA / "val"
    images = (
        ListedImage(name, label, file_size(root / name))
        for name, label in sorted(_validation_labels(folder, labels).items())
    )
    samples = Listing(images, None)
    return Source(
        kind="ilsvrc2012-files",
        classes=class_entries(synsets, words),
        samples=samples,
        sha256=samples.sha256(with_labels=True),
        reader=FileReader(root),
    )


def _validation_labels(folder: Path, label_of: Mapping[str, int]) -> dict[str, int]:
    """Return the label of each validation image by its file's name."""
    where = folder / _SOLUTION
    try:
        text = LocalFolder(folder).read_bytes(_SOLUTION, _MAX_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        raise SourceError(
            f"{where} does not exist, without which nobody knows the labels of the validation "
            "images; put it there"
        ) from None
    present = set(LocalFolder(folder / _DATA / "val").names())
    labels = {}
    # The first row has the columns' names.
    for number, row in enumerate(list(csv.reader(text.splitlines()))[1:], 2):
        synset = row[1].split(" ", 1)[0] if len(row) == 2 else ""
        if synset not in label_of:
            raise SourceError(f"{where}: line {number} names no synset; unpack the archive again")
        name = f"{row[0]}.JPEG"
        if name not in present:
            raise SourceError(f"{folder / _DATA / 'val'} lacks {name}; unpack the archive again")
        labels[name] = label_of[synset]
    if not labels:
        raise SourceError(f"{where} has no lines; unpack the archive again")
    return labels
