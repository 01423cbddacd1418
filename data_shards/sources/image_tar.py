"""A folder of class folders in a tar: the same samples as if it had been unpacked."""

from collections.abc import Collection, Sequence

from data_shards.errors import SourceError
from data_shards.shards.tar_index import TarMember
from data_shards.sources.class_names import class_entries, read_synset_words
from data_shards.sources.extent_reader import ExtentReader
from data_shards.sources.image_paths import (
    choose_split,
    is_ignored,
    is_image,
    refuse_odd_classes,
)
from data_shards.sources.listing import ListedImage, Listing
from data_shards.sources.source import Source
from data_shards.storage.folder import Folder


def open_image_tar(
    folder: Folder, tar: str, members: Sequence[TarMember], split: str, beside: Folder
) -> Source:
    """List the images of a split among a tar's members. Raises SourceError.

    The folder `beside` is that of the archive as people know it, which may be compressed; a file
    there tells the words of synsets.
    """
    where = beside.at(tar)
    # Of two files of one path the later counts, as it would unpacked.
    images = {each.name: each for each in members if _is_image(each.name)}
    root = root_of_split(images, split, where)

    def class_and_rest(path: str) -> tuple[str, str, str]:
        return path.removeprefix(root).partition("/")

    # As of a folder: what lies loose beside the class folders is of no class.
    paths = [path for path in images if path.startswith(root) and class_and_rest(path)[2]]
    if not paths:
        raise SourceError(
            f"{where} holds no folders of images, one for each class, nor samples of KEY.cls and "
            "KEY.jpg; is it the right archive?"
        )
    names = sorted({class_and_rest(path)[0] for path in paths})
    refuse_odd_classes(names, where)
    labels = {name: label for label, name in enumerate(names)}
    samples = Listing(
        (
            ListedImage(
                name=path.removeprefix(root),
                label=labels[class_and_rest(path)[0]],
                size_bytes=images[path].size_bytes,
                offset=images[path].offset,
            )
            for path in sorted(paths, key=class_and_rest)
        ),
        [tar],
    )
    return Source(
        kind="image-folder",
        classes=class_entries(names, read_synset_words(beside)),
        samples=samples,
        sha256=samples.sha256(with_labels=False),
        reader=ExtentReader(folder.location),
    )


def root_of_split(paths: Collection[str], split: str, where: str) -> str:
    """Return what the paths of a split's images begin with: "", or folders, each with a `/`.

    Archives often hold one folder that holds all the rest.
    """
    root = ""
    while True:
        folders, is_class = set(), False
        for path in paths:
            if path.startswith(root):
                parts = path.removeprefix(root).split("/", 2)
                folders.update(parts[:-1][:1])
                # [folder, image] is of a class; [folder, folder, ...] may be, if not alone.
                is_class = is_class or len(parts) == 2
        name = choose_split(sorted(folders), split, f"{where}/{root}".rstrip("/"))
        if name is not None:
            return f"{root}{name}/"
        if len(folders) != 1 or is_class:
            return root
        root = f"{root}{folders.pop()}/"


def _is_image(path: str) -> bool:
    *folders, name = path.split("/")
    return is_image(name) and not any(map(is_ignored, folders))
