"""ILSVRC2012, the paper's data set, in the archives it is distributed as; none is unpacked.

Names and layout are as torchvision.datasets.ImageNet documents them: a tar of a tar for each
synset; a tar of the validation images; the development kit. As there, a label is the place
of the synset among the thousand, sorted, not the number that the kit gives it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from data_shards.errors import SourceError
from data_shards.shards.tar_index import TarLayoutError, TarMember, walk_tar
from data_shards.sources import devkit
from data_shards.sources.archive import list_tar, opened_tar
from data_shards.sources.class_names import SYNSET_FILES, class_entry, read_synset_words
from data_shards.sources.extent_reader import ExtentReader
from data_shards.sources.image_paths import is_image, names_of_split
from data_shards.sources.listing import ListedImage, Listing
from data_shards.sources.source import OnProgress, Source
from data_shards.storage.folder import Folder

TRAIN = "ILSVRC2012_img_train.tar"
VALIDATION = "ILSVRC2012_img_val.tar"
_CLASS_TAR = re.compile(r"(n\d{8})\.tar")
_VALIDATION_IMAGE = re.compile(r"(?:.*/)?ILSVRC2012_val_(\d{8})\.JPEG")


def archive_of_split(split: str) -> str:
    """Return the archive that holds a split. Raises SourceError if none does."""
    if split not in ("train", *names_of_split("validation")):
        raise SourceError(
            f"ILSVRC2012 tells the labels of its train and validation images, not of {split!r}; "
            "choose one of them with --split"
        )
    return TRAIN if split == "train" else VALIDATION


def open_ilsvrc2012(folder: Folder, split: str, on_progress: OnProgress) -> Source:
    """List a split of the archives in a folder. Raises SourceError, which says what is missing."""
    tar = archive_of_split(split)
    if not folder.exists(tar):
        raise SourceError(f"{folder.location} lacks {tar}; put it there to pack {split}")
    kit = devkit.read_devkit(folder)
    if kit is None and tar == VALIDATION:
        raise SourceError(
            f"{folder.location} lacks {devkit.ARCHIVE}, without which nobody knows the labels of "
            "the validation images; put it there"
        )
    words = read_synset_words(folder) if kit is None else kit.words
    if not words:
        raise SourceError(
            f"{folder.location} lacks {devkit.ARCHIVE}, which names the classes; put it there, or "
            f"one of {', '.join(SYNSET_FILES)}"
        )
    synsets = sorted(words)
    labels = {synset: label for label, synset in enumerate(synsets)}
    images = (
        _train_images(folder, labels, on_progress)
        if kit is None or tar == TRAIN
        else _validation_images(
            folder, [labels[synset] for synset in kit.validation_synsets], on_progress
        )
    )
    samples = Listing(images, [tar])
    return Source(
        kind="ilsvrc2012",
        classes=tuple(class_entry(synset, words) for synset in synsets),
        samples=samples,
        sha256=samples.sha256(with_labels=True),
        reader=ExtentReader(folder.location),
    )


def _train_images(
    folder: Folder, labels: Mapping[str, int], on_progress: OnProgress
) -> Iterator[ListedImage]:
    """Yield the images of the train archive by class, then by name."""
    where = folder.at(TRAIN)
    with opened_tar(folder, TRAIN) as file:
        size = folder.size(TRAIN)
        classes = sorted(walk_tar(file))
        _check_classes(classes, labels, where)
        for inner in classes:
            synset = inner.name.removesuffix(".tar")
            end = inner.offset + inner.size_bytes
            try:
                listed = sorted(walk_tar(file, begin=inner.offset, end=end))
            except TarLayoutError as error:
                raise TarLayoutError(f"{inner.name}: {error}") from error
            images = [each for each in listed if is_image(each.name)]
            for name, offset, size_bytes in images:
                # As it is called where the archive is unpacked.
                yield ListedImage(f"{synset}/{name}", labels[synset], size_bytes, 0, offset)
            on_progress(end, size)


def _check_classes(classes: Sequence[TarMember], labels: Mapping[str, int], where: str) -> None:
    for inner in classes:
        match = _CLASS_TAR.fullmatch(inner.name)
        if match is None:
            raise SourceError(
                f"{where} holds {inner.name}, where it must hold a tar for each synset, such as "
                "n01440764.tar; fetch it again"
            )
        if match[1] not in labels:
            raise SourceError(
                f"{where} holds {inner.name}, which is none of the {len(labels)} synsets named "
                "beside it; put archive and development kit of the same year together"
            )
    names = [inner.name for inner in classes]
    if len(names) != len(labels):
        missing = sorted(labels.keys() - {name.removesuffix(".tar") for name in names})
        problem = f"lacks {missing[0]}.tar" if missing else "holds a class twice"
        raise SourceError(
            f"{where} {problem}: it has {len(names)} of {len(labels)} classes; fetch it again"
        )


def _validation_images(
    folder: Folder, labels: Sequence[int], on_progress: OnProgress
) -> Iterator[ListedImage]:
    """Yield the validation images by number, which the ground truth goes by."""
    where = folder.at(VALIDATION)
    numbered = {}
    for name, offset, size_bytes in list_tar(folder, VALIDATION, on_progress):
        match = _VALIDATION_IMAGE.fullmatch(name)
        number = int(match[1]) if match else 0
        if not 0 < number <= len(labels) or number in numbered:
            raise SourceError(
                f"{where} holds {name}, where it must hold ILSVRC2012_val_00000001.JPEG to "
                f"{len(labels):08d} once; fetch it again"
            )
        numbered[number] = TarMember(name.rpartition("/")[2], offset, size_bytes)
    if len(numbered) != len(labels):
        raise SourceError(
            f"{where} holds {len(numbered)} images, where the ground truth has {len(labels)}; "
            "fetch it again"
        )
    for number, (name, offset, size_bytes) in sorted(numbered.items()):
        yield ListedImage(name, labels[number - 1], size_bytes, 0, offset)
