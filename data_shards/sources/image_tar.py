"""A folder of class folders in a tar: the same samples as if it had been unpacked."""

from collections.abc import Sequence

from data_shards.errors import SourceError
from data_shards.shards.tar_index import TarMember
from data_shards.sources.class_names import class_entries, read_synset_words
from data_shards.sources.extent_reader import ExtentReader
from data_shards.sources.image_paths import choose_split, is_image, refuse_odd_classes
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
    images = [each for each in members if _is_image(each.name)]
    root = root_of_split([each.name for each in images], split, where)
    below = [each._replace(name=each.name.removeprefix(root)) for each in images]
    below = [new for new, old in zip(below, images, strict=True) if old.name.startswith(root)]
    # As of a folder: what lies loose beside the class folders is of no class.
    below = [each for each in below if "/" in each.name]
    if not below:
        raise SourceError(
            f"{where} holds no folders of images, one for each class, nor samples of KEY.cls and "
            "KEY.jpg; is it the right archive?"
        )
    names = sorted({each.name.partition("/")[0] for each in below})
    refuse_odd_classes(names, where)
    labels = {name: label for label, name in enumerate(names)}
    listed = (
        ListedImage(each.name, labels[each.name.partition("/")[0]], each.size_bytes, 0, each.offset)
        for each in below
    )
    samples = Listing(sorted(listed, key=lambda image: (image.label, image.name)), [tar])
    return Source(
        kind="image-folder",
        classes=class_entries(names, read_synset_words(beside)),
        samples=samples,
        sha256=samples.sha256(with_labels=False),
        reader=ExtentReader(folder.location),
    )


def root_of_split(paths: Sequence[str], split: str, where: str) -> str:
    """Return what the paths of a split's images begin with: "", or folders, each with a `/`.

    Archives often hold one folder that holds all the rest.
    """
    root = ""
    while True:
        below = [path.removeprefix(root).split("/", 2) for path in paths if path.startswith(root)]
        folders = sorted({parts[0] for parts in below if len(parts) > 1})
        name = choose_split(folders, split, f"{where}/{root}".rstrip("/"))
        if name is not None:
            return f"{root}{name}/"
        # [folder, image] is a class; [folder, folder, ...] may be one, if not alone.
        if len(folders) != 1 or any(len(parts) == 2 for parts in below):
            return root
        root = f"{root}{folders[0]}/"


def _is_image(path: str) -> bool:
    *folders, name = path.split("/")
    return is_image(name) and not any(folder.startswith(".") for folder in folders)
